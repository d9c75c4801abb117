"""Which export does a file hold, and which facts does it state? One file per exchange, recognised by the header."""
