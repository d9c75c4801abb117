"""Which trades would the live pipeline have made on recorded candles?"""
