"""Manual entries, and the accounts that they move value in."""

from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from pydantic import Field, RootModel

from api.http.commands import Command, Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import Answer, EventAnswer, Request, TradeAnswer
from ledger.entries.kinds import AnyEntry
from ledger.entries.rules import check_new_account, entry_event, entry_time, trade_event_id
from ledger.events import AccountOpened, PortfolioClosed, TradeExecuted
from ledger.events.fields import Name
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_story
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.portfolio import AccountView, Balance, portfolio_of
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import Money, UtcTime


class NewAccount(Request):
    """An account to open. `mode` is paper (nothing real behind it) or live."""

    account: Name
    venue: Name
    mode: Literal["paper", "live"]


class NewEntry(RootModel[Annotated[AnyEntry, Field(discriminator="kind")]]):
    """One entry, of the given `kind`."""


class EntryAnswer(Answer):
    """The recorded event; for a trade also the trade."""

    event: EventAnswer
    trade: TradeAnswer | None


class BalanceAnswer(Answer):
    asset: str
    quantity: Money


class AccountAnswer(Answer):
    """An account and its balances by asset; `venue`, `mode` and `opened_at` are null if it was never opened explicitly."""

    account: str
    venue: str | None
    mode: str | None
    opened_at: UtcTime | None
    balances: list[BalanceAnswer]


class EntryController(Controller):
    path = "/api/v1/portfolio/entries"
    tags = ("portfolio",)

    @post("/", operation_id="recordEntry", status_code=201, sync_to_thread=True)
    def record_entry(self, commands: NamedDependency[Commands], data: JSONBody[NewEntry]) -> Response[EntryAnswer]:
        """Records value that moved elsewhere: cash, assets, income, a split, a fee, a trade; or closes the portfolio.

        An entry that cannot be booked is refused and nothing is stored. Correct a wrong entry by reversing it.
        """
        command = commands.existing(data)
        return command.record(
            lambda reading: [_new_event(command, data, reading.rows)], lambda reading: _recorded(command, reading)
        )


class AccountController(Controller):
    path = "/api/v1/accounts"
    tags = ("portfolio",)

    @get("/", operation_id="listAccounts", sync_to_thread=True)
    def list_accounts(self, snapshot: NamedDependency[Snapshot]) -> list[AccountAnswer]:
        """Accounts that were opened or hold anything, with their balances."""
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            views = {view.account: view for view in reading.rows.where(AccountView)}
            balances = list(reading.rows.where(Balance))
            names = sorted({*views, *(one.account for one in balances if one.quantity)})
            return [_account(name, views.get(name), balances) for name in names]

    @post("/", operation_id="openAccount", status_code=201, sync_to_thread=True)
    def open_account(self, commands: NamedDependency[Commands], data: JSONBody[NewAccount]) -> Response[AccountAnswer]:
        """Opens an empty account."""
        command = commands.existing(data)

        def decide(reading: StoredReading) -> list[NewEvent]:
            check_new_account(data.account, reading.rows)
            return [command.event(AccountOpened(account=data.account, venue=data.venue, mode=data.mode))]

        def answer(reading: StoredReading) -> AccountAnswer:
            view = reading.rows.get(AccountView, data.account)
            return _account(data.account, view, list(reading.rows.where(Balance)))

        return command.record(decide, answer)


def _new_event(command: Command, data: NewEntry, rows: Rows) -> NewEvent:
    entry, story = data.root, command.event_id()
    at = entry_time(entry, portfolio_of(rows), command.now)
    event = entry_event(entry, rows)
    if isinstance(event, PortfolioClosed) and command.portfolio_id == command.system.portfolio_id:
        raise Problem(409, "driven-here", "this program trades in this portfolio: stop it before closing the portfolio")
    event_id = trade_event_id(event, command.portfolio_id, rows) if isinstance(event, TradeExecuted) else story
    return NewEvent(event, event_id, at, command.actor, story)


def _recorded(command: Command, reading: StoredReading) -> EntryAnswer:
    event = read_story(reading.connection, reading.portfolio_id, command.event_id())[0]
    trade = reading.rows.get(TradeView, event.event_id)
    return EntryAnswer.model_validate({"event": event, "trade": trade})


def _account(account: str, view: AccountView | None, balances: Sequence[Balance]) -> AccountAnswer:
    held = [one for one in balances if one.account == account and one.quantity]
    return AccountAnswer(
        account=account,
        venue=view.venue if view else None,
        mode=view.mode if view else None,
        opened_at=view.opened_at if view else None,
        balances=[BalanceAnswer(asset=one.asset, quantity=one.quantity) for one in held],
    )
