"""Beancount's matches for ledgers: `python ask_beancount.py LEDGERS ANSWERS`, both files of JSON. Run by beancount's own Python.

LEDGERS is a list of beancount texts. Each answer holds the `errors` beancount found, the `matches` it booked (the
postings that reduce a lot, each with its unit cost and what the transaction gave for a unit) and the `open` lots.
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
            for posting in entry.postings:
                if posting.cost is not None:
                    held.add_position(posting)
            matches += reductions(entry)
            incomes += gains(entry)
    return {
        "errors": [str(one.message) for one in errors],
        "matches": matches,
        "gains": incomes,
        "open": [
            {"lot": lot.cost.label, "quantity": str(lot.units.number), "unit": str(lot.cost.number)} for lot in held
        ],
    }


def reductions(entry: Any) -> Iterator[dict[str, str]]:
    """The parts of lots that the transaction closed. `price` is what one unit brought, where that is stated."""
    for posting in entry.postings:
        if posting.cost is not None and posting.units.number < 0:
            yield {
                "sell": next(iter(entry.links), entry.narration),
                "lot": posting.cost.label,
                "quantity": str(-posting.units.number),
                "cost_basis": str(-posting.units.number * posting.cost.number),
                "price": str(posting.price.number) if posting.price else "",
            }


def gains(entry: Any) -> Iterator[dict[str, str]]:
    """What the transaction wrote to an account of gains."""
    for posting in entry.postings:
        if posting.account.startswith("Income:Gains"):
            yield {"sell": next(iter(entry.links), entry.narration), "gain": str(-posting.units.number)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
