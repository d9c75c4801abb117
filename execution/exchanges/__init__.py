"""Where are orders executed? The port `Exchange` and its implementations."""
