"""How would bots have traded on recorded candles?"""
