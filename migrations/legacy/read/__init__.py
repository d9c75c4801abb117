"""What does the legacy database hold? One consistent copy of it, its tables and its cells."""
