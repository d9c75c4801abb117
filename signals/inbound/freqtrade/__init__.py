"""How do freqtrade's signals arrive?

frames: rows read from its JSON; edges: the rows that become signals; rest: its HTTP interface; listener: its websocket.
"""
