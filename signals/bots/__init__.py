"""Which bots are built in? One file each."""
