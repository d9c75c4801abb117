"""How do files become events?"""
