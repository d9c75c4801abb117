"""RP2's matches for histories of trades: `python ask_rp2.py HISTORIES ANSWERS`, both files of JSON. Run by RP2's own Python.

A history is {"method": "fifo|lifo|hifo", "rows": [...]}: rows of one instrument, by the columns of a trade file, in
order of distinct times, no rebates, no sale of more than is held. Its answer is a list of matches.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from prezzemolo.avl_tree import AVLTree
from rp2.accounting_engine import AccountingEngine
from rp2.configuration import MAX_DATE, MIN_DATE, Configuration
from rp2.in_transaction import InTransaction
from rp2.input_data import InputData
from rp2.out_transaction import OutTransaction
from rp2.plugin.accounting_method import fifo, hifo, lifo
from rp2.plugin.country.us import US
from rp2.rp2_decimal import ZERO, RP2Decimal
from rp2.tax_engine import compute_tax
from rp2.transaction_set import TransactionSet

Row = dict[str, str]
METHODS = {"fifo": fifo, "lifo": lifo, "hifo": hifo}
CONFIGURATION = """[general]
assets = COIN
exchanges = file
holders = owner
[in_header]
timestamp = 0
[out_header]
timestamp = 0
[intra_header]
timestamp = 0
"""


def main(histories: Path, answers: Path) -> None:
    """Answers each history of the file."""
    logging.disable()  # what it would say of proceeds after fees is known
    written = answers.with_suffix(".ini")
    written.write_text(CONFIGURATION, encoding="utf-8")
    configuration = Configuration(str(written), US())
    asked = json.loads(histories.read_text(encoding="utf-8"))
    found = [matches(configuration, one["method"], one["rows"]) for one in asked]
    answers.write_text(json.dumps(found), encoding="utf-8")


def matches(configuration: Any, method: str, rows: list[Row]) -> list[dict[str, object]]:
    """What RP2 pairs with what."""
    bought = TransactionSet(configuration, "IN", "COIN", MIN_DATE, MAX_DATE)
    sold = TransactionSet(configuration, "OUT", "COIN", MIN_DATE, MAX_DATE)
    moved = TransactionSet(configuration, "INTRA", "COIN", MIN_DATE, MAX_DATE)
    for number, row in enumerate(rows, start=1):
        if row["side"] == "buy":
            bought.add_entry(bought_coins(configuration, row, number))
        else:
            sold.add_entry(sold_coins(configuration, row, number))
    methods: Any = AVLTree()
    methods.insert_node(MIN_DATE.year, METHODS[method].AccountingMethod())
    computed = compute_tax(configuration, AccountingEngine(methods), InputData("COIN", bought, sold, moved))
    return [answer(one) for one in computed.gain_loss_set]


def bought_coins(configuration: Any, row: Row, number: int) -> Any:
    """RP2 counts a fee in coins as worth its price, on top of what the coins that arrived were worth."""
    quantity, price, fee = figures(row)
    in_coins = bool(row["fee_asset"])
    return InTransaction(
        configuration,
        row["time"],
        "COIN",
        "file",
        "owner",
        "BUY",
        price,
        quantity - fee if in_coins else quantity,
        crypto_fee=fee if in_coins else None,
        fiat_fee=None if in_coins else fee,
        row=number,
        unique_id=row["id"],
    )


def sold_coins(configuration: Any, row: Row, number: int) -> Any:
    """RP2 is told what a sale brought after its fee in money; a fee in coins leaves with the coins."""
    quantity, price, fee = figures(row)
    in_coins = bool(row["fee_asset"])
    return OutTransaction(
        configuration,
        row["time"],
        "COIN",
        "file",
        "owner",
        "SELL",
        price,
        quantity,
        fee if in_coins else ZERO,
        fiat_out_no_fee=None if in_coins else quantity * price - fee,
        row=number,
        unique_id=row["id"],
    )


def figures(row: Row) -> tuple[Any, Any, Any]:
    return RP2Decimal(row["quantity"]), RP2Decimal(row["price"]), RP2Decimal(row["fee"])


def answer(pair: Any) -> dict[str, object]:
    return {
        "sell": pair.taxable_event.unique_id,
        "lot": pair.acquired_lot.unique_id,
        "quantity": str(pair.crypto_amount),
        "proceeds": str(pair.taxable_event_fiat_amount_with_fee_fraction),
        "cost_basis": str(pair.fiat_cost_basis),
        "gain": str(pair.fiat_gain),
        "long": pair.is_long_term_capital_gains(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
