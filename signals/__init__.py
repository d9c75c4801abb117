"""What do bots recommend? Closed candles in, signals out; no keys and no orders."""
