"""Which parts run, and how are they wired together?"""
