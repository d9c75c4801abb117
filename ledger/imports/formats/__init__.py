"""What exchanges let their customers download, one small file for each exchange, recognised by its header."""
