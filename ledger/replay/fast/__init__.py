"""How is a long log replayed in a fraction of the time?

Value events are folded from bytes to lines of text without building objects (`decode`, `fold`, `lines`), and copied in
and out of the database (`copy`); `replay` is the one entry, used for stored views (`views`) and points in time
(`history`). The result equals that of the event-by-event replay.
"""
