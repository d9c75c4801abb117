"""What do the bots think? Reads closed candles, answers with signals; holds no key and places no order."""
