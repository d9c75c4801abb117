"""How would the market have filled an order? Simulated fills on candles or quotes."""
