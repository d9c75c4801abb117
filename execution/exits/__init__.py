"""When is a position sold to limit a loss or take a profit?

`exit_service` watches the exits of a portfolio; `levels` are the prices at which they sell; `exit_events` the events it stores.
"""
