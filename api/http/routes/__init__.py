"""Which routes are there? One module a noun, with its controllers and schemas."""
