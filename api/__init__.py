"""How do people and programs reach Daybook? HTTP, the command line, and the running system."""
