"""Beancount's matches for ledgers: `python ask_beancount.py LEDGERS ANSWERS`, both files of JSON. Run by beancount's own Python.

LEDGERS is a list of beancount texts. Each answer holds the `errors` beancount found, the `matches` it booked (the
postings that close part of a lot), the `gains` it found or was told, the `open` lots, and which entries are `splits`.
Beancount keeps unit costs; here it computes them with 120 digits, so that they differ from a share of the total by
nothing that shows.
"""

import decimal
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beancount.core.data import Transaction
from beancount.core.inventory import Inventory
from beancount.loader import load_string

PRECISION = 120


def main(ledgers: Path, answers: Path) -> None:
    """Answers each ledger of the file."""
    decimal.getcontext().prec = PRECISION
    found = [read(text) for text in json.loads(ledgers.read_text(encoding="utf-8"))]
    answers.write_text(json.dumps(found), encoding="utf-8")


def read(text: str) -> dict[str, object]:
    """What beancount makes of one ledger."""
    entries, errors, _ = load_string(text)
    held = Inventory()
    matches: list[dict[str, str]] = []
    incomes: list[dict[str, str]] = []
    for entry in entries:
        if isinstance(entry, Transaction):
            matches += reductions(entry, held)
            incomes += gains(entry)
    return {
        "errors": [str(one.message) for one in errors],
        "matches": matches,
        "gains": incomes,
        "open": [open_lot(lot) for lot in held],
        "splits": [name_of(one) for one in entries if getattr(one, "narration", "") == "SplitRecorded"],
    }


def open_lot(lot: Any) -> dict[str, str]:
    return {
        "asset": lot.units.currency,
        "lot": lot.cost.label,
        "quantity": str(lot.units.number),
        "unit": str(lot.cost.number),
    }


def name_of(entry: Any) -> str:
    """The trade that a transaction stands for: its link, or its narration where it has none."""
    return str(next(iter(entry.links), entry.narration))


def reductions(entry: Any, held: Any) -> list[dict[str, str]]:
    """The parts of lots, long or short, that the transaction closed; `held` is as it leaves them."""
    closed = []
    for posting in entry.postings:
        if posting.cost is None:
            continue
        lot = held.get((posting.units.currency, posting.cost))
        if lot is not None and lot.units.number * posting.units.number < 0:
            quantity = abs(posting.units.number)
            closed.append(
                {
                    "sell": name_of(entry),
                    "asset": posting.units.currency,
                    "lot": posting.cost.label,
                    "quantity": str(quantity),
                    "cost_basis": str(quantity * posting.cost.number),
                }
            )
        held.add_position(posting)
    return closed


def gains(entry: Any) -> Iterator[dict[str, str]]:
    """What the transaction wrote to an account of gains."""
    for posting in entry.postings:
        if posting.account.startswith("Income:Gains"):
            yield {"sell": name_of(entry), "gain": str(-posting.units.number)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
