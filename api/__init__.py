"""How the outside reaches us: HTTP, the command line, and the wiring of the rooms."""
