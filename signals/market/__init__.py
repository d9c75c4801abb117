"""Where do candles and quotes come from?

candle: a closed candle, a quote, the errors of reading them; playback: candles played at a multiple of real time;
recorded, simulated, ccxt: the three kinds of feed; feed: the port they implement, and `open_feed`.
"""
