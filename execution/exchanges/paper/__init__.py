"""How would the market have filled an order?"""
