"""Which orders follow from signals and requests? Review, the order protocol, exits, exchanges, backtests."""
