"""Which lots does an event open and close?"""
