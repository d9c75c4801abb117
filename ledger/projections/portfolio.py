"""A portfolio: its name, base currency and accounts, and the balance of each asset in each account."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.booking.legs import AssetMove
from ledger.events import AccountOpened, DifferenceFound, DifferenceResolved, Event, PortfolioClosed, PortfolioOpened
from ledger.log.envelope import Envelope
from ledger.rows import Change, Deleted, Row, Rows, key_of, replaced
from ledger.values import ZERO, derived_id


@dataclass(frozen=True, slots=True)
class PortfolioView(Row):
    """The portfolio itself. `closed_at` and `closed_reason` are None while it is open."""

    table: ClassVar[str] = "portfolio_details"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    base_currency: str
    allow_short: bool
    opened_at: datetime
    closed_at: datetime | None = None
    closed_reason: str | None = None


@dataclass(frozen=True, slots=True)
class AccountView(Row):
    """An account. `mode` is paper or live; the two never share an account."""

    table: ClassVar[str] = "accounts"
    key: ClassVar[tuple[str, ...]] = ("account",)
    account: str
    venue: str
    mode: str
    opened_at: datetime


class PortfolioProjection:
    name = "portfolio"
    version = 2
    events: tuple[type[Event], ...] = (PortfolioOpened, PortfolioClosed, AccountOpened)
    rows: tuple[type[Row], ...] = (PortfolioView, AccountView)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case PortfolioOpened() as opened:
                assert envelope.position == 1, "a portfolio is opened once, by its first event"
                return [PortfolioView(opened.name, opened.base_currency, opened.allow_short, envelope.occurred_at)]
            case PortfolioClosed() as closed:
                view = portfolio_of(rows)
                return [replaced(view, closed_at=envelope.occurred_at, closed_reason=closed.reason)]
            case AccountOpened() as opened:
                return [AccountView(opened.account, opened.venue, opened.mode, envelope.occurred_at)]
            case _:
                return []


def portfolio_of(rows: Rows) -> PortfolioView:
    """Return the portfolio. Its first event opens it, so every later one finds it."""
    return next(rows.where(PortfolioView))


def base_currency_of(rows: Rows) -> str:
    """Return the portfolio's base currency."""
    return portfolio_of(rows).base_currency


def portfolio_id_of(name: str) -> UUID:
    """Return the id of the portfolio with this name; names are unique because ids are."""
    return derived_id("portfolio", name)


# --- balances ---


@dataclass(frozen=True, slots=True)
class Balance(Row):
    """`quantity` of `asset` in `account`.

    For cash, `deposited` is deposits less withdrawals, `income` cash received as income, `expenses` cash paid for fees
    outside trades. They are 0 for other assets: see `Holding`.
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
    """Return the balances after these movements of cash, or after undoing them; empty ones are deleted."""
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
    return [_unless_empty(balance) for balance in changed.values()]


def _unless_empty(balance: Balance) -> Change:
    if balance.quantity or balance.deposited or balance.income or balance.expenses:
        return balance
    return Deleted(Balance, key_of(balance))


def cash_of(rows: Rows, currency: str) -> Decimal:
    """Return the cash in `currency` over all accounts."""
    return sum((balance.quantity for balance in rows.where(Balance, currency)), ZERO)


# --- differences between ledger and venue ---


@dataclass(frozen=True, slots=True)
class DifferenceView(Row):
    """A difference found by reconciliation. `status`: found → resolved; `reason` is the explanation."""

    table: ClassVar[str] = "differences"
    key: ClassVar[tuple[str, ...]] = ("difference_id",)
    difference_id: UUID
    position: int
    account: str
    venue: str
    subject: str
    ledger: str
    venue_says: str
    found_at: datetime
    status: str
    reason: str


class DifferencesProjection:
    name = "differences"
    version = 1
    events: tuple[type[Event], ...] = (DifferenceFound, DifferenceResolved)
    rows: tuple[type[Row], ...] = (DifferenceView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case DifferenceFound() as found:
                return [
                    DifferenceView(
                        difference_id=envelope.event_id,
                        position=envelope.position,
                        account=found.account,
                        venue=found.venue,
                        subject=found.subject,
                        ledger=found.ledger,
                        venue_says=found.venue_says,
                        found_at=envelope.occurred_at,
                        status="found",
                        reason="",
                    )
                ]
            case DifferenceResolved() as resolved:
                view = rows.get(DifferenceView, resolved.difference_id)
                assert view is not None, f"difference {resolved.difference_id} was never found"
                return [replaced(view, status="resolved", reason=resolved.reason)]
            case _:
                return []


def differences_of(rows: Rows, account: str) -> list[DifferenceView]:
    """Return the account's unresolved differences, oldest first."""
    return sorted((one for one in unexplained(rows) if one.account == account), key=lambda one: one.position)


def unexplained(rows: Rows) -> Iterator[DifferenceView]:
    """Return the unresolved differences of all accounts."""
    return (one for one in rows.where(DifferenceView) if one.status == "found")
