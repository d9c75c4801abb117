"""Entries by hand: value that moved elsewhere, and the accounts it lies in."""

from collections.abc import Sequence
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.entry_schemas import AccountAnswer, BalanceAnswer, EntryAnswer, NewAccount, NewEntry
from api.http.errors import Problem
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    clock_of,
    commands_of,
    only_parameters,
    reading_of,
    system_of,
)
from api.http.schemas import EventAnswer, TradeAnswer
from api.runtime.wiring import System
from ledger.entries.recording import record_checked
from ledger.entries.rules import check_new_account, entry_event, entry_time, trade_event_id
from ledger.events import AccountOpened, PortfolioClosed, TradeExecuted
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_story
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.portfolio import AccountView, Balance, portfolio_of
from ledger.projections.trades import TradeView
from ledger.rows import Rows


class EntryController(Controller):
    path = "/api/v1/portfolio/entries"
    tags = ("portfolio",)

    @post("/", operation_id="recordEntry", status_code=201, sync_to_thread=True)
    def record_entry(
        self,
        request: AnyRequest,
        data: JSONBody[NewEntry],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[EntryAnswer]:
        """Records value that moved elsewhere: cash, assets, income, a split, a fee, a trade; or closes the portfolio.

        What cannot be booked is refused and nothing is written. An entry that was wrong is taken back by a reversal.
        """
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                return [_new_event(system, running, data, reading.rows, caller_of(request).actor)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(running: Running) -> EntryAnswer:
            return _recorded(system, portfolio_id, running.event_id())

        command = ("POST /portfolio/entries", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer, 201)


class AccountController(Controller):
    path = "/api/v1/accounts"
    tags = ("portfolio",)

    @get("/", operation_id="listAccounts", sync_to_thread=True)
    def list_accounts(
        self, request: AnyRequest, past: NamedDependency[PointInTime], portfolio: InPortfolio = None
    ) -> list[AccountAnswer]:
        """Every account that was opened or holds anything, with what lies in it."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            views = {view.account: view for view in reading.rows.where(AccountView)}
            balances = list(reading.rows.where(Balance))
            names = sorted({*views, *(one.account for one in balances if one.quantity)})
            return [_account(name, views.get(name), balances) for name in names]

    @post("/", operation_id="openAccount", status_code=201, sync_to_thread=True)
    def open_account(
        self,
        request: AnyRequest,
        data: JSONBody[NewAccount],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[AccountAnswer]:
        """Opens an account, which is empty."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                check_new_account(data.account, reading.rows)
                event_id = running.event_id()
                event = AccountOpened(account=data.account, venue=data.venue, mode=data.mode)
                return [NewEvent(event, event_id, clock_of(system, portfolio_id)(), caller_of(request).actor, event_id)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(_running: Running) -> AccountAnswer:
            with system.book.reading(portfolio_id) as reading:
                view = reading.rows.get(AccountView, data.account)
                assert view is not None, "it was opened"
                return _account(data.account, view, list(reading.rows.where(Balance)))

        command = ("POST /accounts", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer, 201)


def _new_event(system: System, running: Running, data: NewEntry, rows: Rows, actor: str) -> NewEvent:
    portfolio_id, entry, story = running.portfolio_id, data.root, running.event_id()
    at = entry_time(entry, portfolio_of(rows), clock_of(system, portfolio_id)())
    event = entry_event(entry, rows)
    if isinstance(event, PortfolioClosed) and portfolio_id == system.portfolio_id:
        detail = "this program trades in this portfolio: it cannot be closed while it does"
        raise Problem(409, "driven-here", detail)
    event_id = trade_event_id(event, portfolio_id, rows) if isinstance(event, TradeExecuted) else story
    return NewEvent(event, event_id, at, actor, story)


def _recorded(system: System, portfolio_id: UUID, story: UUID) -> EntryAnswer:
    with system.book.reading(portfolio_id) as reading:
        event = read_story(reading.connection, portfolio_id, story)[0]
        trade = reading.rows.get(TradeView, event.event_id)
        return EntryAnswer(
            event=EventAnswer.model_validate(event), trade=TradeAnswer.model_validate(trade) if trade else None
        )


def _account(account: str, view: AccountView | None, balances: Sequence[Balance]) -> AccountAnswer:
    held = [one for one in balances if one.account == account and one.quantity]
    return AccountAnswer(
        account=account,
        venue=view.venue if view else None,
        mode=view.mode if view else None,
        opened_at=view.opened_at if view else None,
        balances=[BalanceAnswer(asset=one.asset, quantity=one.quantity) for one in held],
    )
