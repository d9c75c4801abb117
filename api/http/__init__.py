"""How do programs reach Daybook over HTTP?"""
