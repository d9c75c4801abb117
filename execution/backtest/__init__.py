"""What does the trading pipeline do on recorded candles?"""
