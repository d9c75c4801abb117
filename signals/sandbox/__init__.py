"""How do bots of other packages run without harming Daybook?"""
