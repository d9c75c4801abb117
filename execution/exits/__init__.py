"""When is a position sold to limit a loss or take a profit?"""
