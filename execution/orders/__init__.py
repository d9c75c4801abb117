"""How does an approved order reach the exchange exactly once?"""
