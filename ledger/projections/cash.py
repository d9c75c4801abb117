"""Balances: how much of each asset lies in each account, and where the cash came from."""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from ledger.envelope import Envelope
from ledger.events import CashDeposited, CashWithdrawn, PortfolioOpened
from ledger.legs import moves_of
from ledger.projections.portfolio import base_currency_of
from ledger.rows import Change, Row, Rows
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class Balance(Row):
    """`quantity` of `asset` in `account`; `deposited` is what came in from outside less what went out again."""

    table: ClassVar[str] = "balances"
    key: ClassVar[tuple[str, ...]] = ("asset", "account")
    asset: str
    account: str
    quantity: Decimal
    deposited: Decimal


class CashProjection:
    name = "cash"
    version = 1
    rows: tuple[type[Row], ...] = (Balance,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        if isinstance(event, PortfolioOpened):
            return []
        changed: dict[tuple[str, str], Balance] = {}
        for move in moves_of(event, base_currency_of(rows)):
            key = (str(move.asset), move.account)
            before = changed.get(key) or rows.get(Balance, *key) or Balance(*key, ZERO, ZERO)
            from_outside = move.quantity if isinstance(event, CashDeposited | CashWithdrawn) else ZERO
            changed[key] = Balance(*key, before.quantity + move.quantity, before.deposited + from_outside)
        return list(changed.values())


def cash_of(rows: Rows, currency: str) -> Decimal:
    """All cash in `currency`, over all accounts."""
    return sum((balance.quantity for balance in rows.where(Balance, currency)), ZERO)
