"""Does a bot conform to the rules for bots?"""
