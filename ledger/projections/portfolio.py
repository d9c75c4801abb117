"""What a portfolio is: its name, its base currency, its accounts."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from ledger.envelope import Envelope
from ledger.events import AccountOpened, PortfolioOpened
from ledger.rows import Change, Row, Rows


@dataclass(frozen=True, slots=True)
class PortfolioView(Row):
    table: ClassVar[str] = "portfolio_details"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    base_currency: str
    opened_at: datetime


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
    version = 1
    rows: tuple[type[Row], ...] = (PortfolioView, AccountView)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case PortfolioOpened() as opened:
                assert envelope.position == 1, "a portfolio is opened once, by its first event"
                return [PortfolioView(opened.name, opened.base_currency, envelope.occurred_at)]
            case AccountOpened() as opened:
                return [AccountView(opened.account, opened.venue, opened.mode, envelope.occurred_at)]
            case _:
                return []


def base_currency_of(rows: Rows) -> str:
    """The portfolio's base currency. Its first event states it, so every later one finds it."""
    return next(rows.where(PortfolioView)).base_currency
