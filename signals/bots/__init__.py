"""The built-in bots, one small file each."""
