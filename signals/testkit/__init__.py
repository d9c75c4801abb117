"""Does a bot keep the rules every bot must keep?"""
