"""What do we do about it? Review, orders, venues."""
