"""How much did the portfolio earn, and on which lots?

`lots`, `gains`, `lot_methods`: cost basis. `attribution`, `closed_lots`: realised P&L. `equity`, `metrics`,
`money_weighted`, `performance`: value and returns.
"""
