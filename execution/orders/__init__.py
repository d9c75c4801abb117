"""How does an approved order reach the exchange exactly once?

`trade_service` decides, stores and sends; `order_events` are the events it stores; `connections` the venues it sends to;
`reconcile` compares live accounts with the ledger.
"""
