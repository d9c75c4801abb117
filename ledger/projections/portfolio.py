"""What a portfolio is: its name, its base currency, its accounts."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from ledger.events import AccountOpened, Event, PortfolioClosed, PortfolioOpened
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows, replaced
from ledger.values import derived_id


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
    """The portfolio. Its first event opens it, so every later one finds it."""
    return next(rows.where(PortfolioView))


def base_currency_of(rows: Rows) -> str:
    """The portfolio's base currency."""
    return portfolio_of(rows).base_currency


def portfolio_id_of(name: str) -> UUID:
    """A portfolio's id derives from its name, so no two portfolios share one."""
    return derived_id("portfolio", name)
