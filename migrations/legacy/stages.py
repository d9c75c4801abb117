"""The stages between a legacy figure and the ledger's: each takes away one cause of the difference, and names it."""

from typing import Final

PAPER: Final = 1
QUARANTINED: Final = 2
STATUSES: Final = 3
SIDES: Final = 4
BOTS: Final = 5
DUPLICATE: Final = 6
UNRECORDED: Final = 7
IN_BASE: Final = 8
PRICED: Final = 9
ORDERED: Final = 10
"""From here on the events themselves are looked at, in the ledger's order."""

NEVER: Final = 99

CAUSES: Final = (
    "rounding",
    "paper",
    "quarantined",
    "status",
    "side_case",
    "no_bot",
    "duplicate",
    "unrecorded_fill",
    "unit",
    "price",
    "order",
    "oversell",
    "average_cost",
    "fee",
    "unexplained",
)
"""What takes a legacy figure to the ledger's, in the order in which the stages take it away.

rounding: binary floating point · paper: simulated trades among real ones · quarantined: rows that nobody could decide ·
status: executed rows that were not counted · side_case: sides not written in upper case · no_bot: trades of no bot, which
the per-bot figure left out · duplicate: one execution in several rows · unrecorded_fill: fills without a row ·
unit: sizes in quote read as base · price: the price when sending, against that of the fills · order: which of two trades
at one time came first · oversell: what was sold without a known purchase · average_cost: averages and lots at other values,
against FIFO · fee · unexplained: must be 0.
"""
