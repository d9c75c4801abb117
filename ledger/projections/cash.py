"""Balances: how much of each asset lies in each account, and where the cash came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from ledger.booking.legs import AssetMove
from ledger.rows import Change, Gone, Row, Rows, key_of
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class Balance(Row):
    """`quantity` of `asset` in `account`.

    `deposited` is the cash that came in from outside less what went out again, `income` what cash came in as income and
    `expenses` what cash went for fees outside trades. They are 0 for other assets, whose holdings tell it at its worth.
    """

    table: ClassVar[str] = "balances"
    key: ClassVar[tuple[str, ...]] = ("asset", "account")
    asset: str
    account: str
    quantity: Decimal
    deposited: Decimal
    income: Decimal
    expenses: Decimal


def cash_changes(rows: Rows, moves: Sequence[AssetMove], *, undone: bool = False) -> list[Change]:
    """The balances that these moves of cash change, or that taking them back changes; one that says nothing is gone."""
    changed: dict[tuple[str, str], Balance] = {}
    sign = -1 if undone else 1
    for move in moves:
        key = (str(move.asset), move.account)
        before = changed.get(key) or rows.get(Balance, *key) or Balance(*key, ZERO, ZERO, ZERO, ZERO)
        quantity = sign * move.quantity
        changed[key] = Balance(
            *key,
            quantity=before.quantity + quantity,
            deposited=before.deposited + (quantity if move.kind in ("deposit", "withdrawal") else ZERO),
            income=before.income + (quantity if move.kind == "income" else ZERO),
            expenses=before.expenses - (quantity if move.kind == "expense" else ZERO),
        )
    return [_kept(balance) for balance in changed.values()]


def _kept(balance: Balance) -> Change:
    says_something = balance.quantity or balance.deposited or balance.income or balance.expenses
    return balance if says_something else Gone(Balance, key_of(balance))


def cash_of(rows: Rows, currency: str) -> Decimal:
    """All cash in `currency`, over all accounts."""
    return sum((balance.quantity for balance in rows.where(Balance, currency)), ZERO)
