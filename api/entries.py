"""Entries become events: value that moved elsewhere, checked against everything on which a fold would stop.

Nothing is recorded that the portfolio's views cannot be brought up to: the event, its consequences and the command's
key go into one transaction, and when the views stop in it, all of it is undone.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from api.http.entry_schemas import (
    AnyEntry,
    AssetDeposit,
    AssetWithdrawal,
    CashDeposit,
    CashWithdrawal,
    Close,
    Entry,
    FeePaid,
    Income,
    NewPortfolio,
    OpeningLot,
    Split,
    TradeElsewhere,
    Transfer,
)
from api.http.errors import Problem
from ledger.booking.legs import UnvaluedLeg, gross_value, moves_of, total_fees
from ledger.events import (
    AccountOpened,
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    Event,
    FeeCharged,
    IncomeReceived,
    OpeningLotRecorded,
    PortfolioClosed,
    PortfolioOpened,
    SplitRecorded,
    TradeExecuted,
    TradeReversed,
    TransferRecorded,
)
from ledger.imports.facts import EARLIEST
from ledger.imports.reentry import entered, own_fill_id
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict, PositionConflict
from ledger.postgres.book import Alongside, PostgresBook, StoredReading
from ledger.postgres.log import Raw
from ledger.postgres.views import StoredRows, read_checkpoint
from ledger.projections.cash import Balance
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import AccountView, PortfolioView, portfolio_id_of, portfolio_of
from ledger.projections.reversals import Reversal, reversible
from ledger.projections.trades import TradeView
from ledger.rows import Rows, field_names
from ledger.values import INTEGER_DIGITS, ZERO, derived_id, time_text

MARKETS_OWN: Final = re.compile(r"paper \S+-\S+ \S+ .*")
"""What `api.runtime.wiring.portfolio_name` calls the portfolio of a market."""

LARGEST: Final = Decimal(10) ** INTEGER_DIGITS
"""Every number stays below this, so that it can be told again."""

Prepare = Callable[[StoredReading], Sequence[NewEvent]]
"""What is to be recorded, seen from the portfolio as it is. Raises Problem for what cannot be."""

SAME_NAME: Final[Mapping[type[Entry], type[Event]]] = {
    CashDeposit: CashDeposited,
    CashWithdrawal: CashWithdrawn,
    AssetDeposit: AssetDeposited,
    AssetWithdrawal: AssetWithdrawn,
    OpeningLot: OpeningLotRecorded,
    Transfer: TransferRecorded,
    Split: SplitRecorded,
    FeePaid: FeeCharged,
    Close: PortfolioClosed,
}
"""The entries whose fields are called as those of their events."""


def record_checked(book: PostgresBook, portfolio_id: UUID, prepare: Prepare, alongside: Alongside) -> None:
    """What `prepare` gives is in the log with its consequences and with what `alongside` writes, or nothing is.

    Raises Problem: 409 when the views stand still already, 422 when they would stop at one of the events; and what
    `prepare` and `alongside` raise.
    """
    while True:
        position = book.log.head(portfolio_id).position
        with book.reading(portfolio_id) as reading:
            if reading.stopped is not None:
                said = f"the views stand still before position {reading.stopped.position}: run daybook replay first"
                raise Problem(409, "views-stopped", said)
            events = prepare(reading)
        if not events:
            return
        try:
            book.record(portfolio_id, events, position, alongside=booked_and(alongside, portfolio_id))
        except Conflict:
            if book.log.head(portfolio_id).position == position:
                raise
        else:
            return  # else something was stored since we looked: look again


def booked_and(alongside: Alongside, portfolio_id: UUID) -> Alongside:
    """Writes `alongside` when the views hold what was recorded before it in the transaction. Raises Problem otherwise."""

    def checked(connection: Raw) -> None:
        checkpoint = read_checkpoint(connection, portfolio_id)
        if checkpoint is not None and checkpoint.stopped is not None:
            raise Problem(422, "not-bookable", f"this cannot be booked: {checkpoint.stopped.reason[:300]}")
        if checkpoint is not None:
            _must_fit(StoredRows(portfolio_id, checkpoint.generation).within(connection))
        alongside(connection)

    return checked


def _must_fit(rows: Rows) -> None:
    """Raises Problem when a sum has more digits than a decimal may have in an answer."""
    kept: list[Holding | Balance] = [*rows.where(Holding), *rows.where(Balance)]
    for row in kept:
        for name in field_names(type(row)):
            value = getattr(row, name)
            if isinstance(value, Decimal) and abs(value) >= LARGEST:
                said = f"the {name} of {row.asset} would have more than {INTEGER_DIGITS} digits"
                raise Problem(422, "not-bookable", said)


def entry_event(entry: AnyEntry, rows: Rows) -> Event:
    """The event that `entry` is in the portfolio with these rows. Raises Problem for what cannot be booked there."""
    portfolio = portfolio_of(rows)
    accounts = {view.account: view for view in rows.where(AccountView)}
    known_accounts(accounts, _named(entry))
    if isinstance(entry, FeePaid) and entry.trade_id is not None and rows.get(TradeView, entry.trade_id) is None:
        raise Problem(422, "unknown-trade", f"there is no trade {entry.trade_id} in this portfolio: leave trade_id out")
    if isinstance(entry, Split) and entry.numerator == entry.denominator:
        said = f"a split of {entry.numerator} for {entry.denominator} changes nothing: numerator and denominator differ"
        raise Problem(422, "not-bookable", said)
    try:
        event = _event(entry, portfolio, accounts)
        moves = moves_of(event, portfolio.base_currency)
    except ValidationError as error:
        said = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise Problem(422, "not-bookable", said) from None
    except UnvaluedLeg as error:
        raise Problem(422, "not-bookable", str(error)) from None
    if isinstance(event, SplitRecorded) and event.asset == portfolio.base_currency:
        raise Problem(422, "not-bookable", f"{event.asset} is the base currency: it cannot split")
    values = [value for move in moves for value in (move.quantity, move.value, move.fee)]
    if isinstance(event, TradeExecuted):
        values += [gross_value(event), total_fees(event)]
    if any(abs(value) >= LARGEST for value in values):
        raise Problem(422, "not-bookable", f"what moved is worth a number of more than {INTEGER_DIGITS} digits")
    return event


def entry_time(entry: AnyEntry, portfolio: PortfolioView, now: datetime) -> datetime:
    """When the entry happened. Raises Problem for the future, for a time before EARLIEST, and after the closing."""
    if entry.occurred_at is not None and entry.occurred_at > now:
        said = (
            f"occurred_at {time_text(entry.occurred_at)} lies in the future: it is {time_text(now)} in this portfolio"
        )
        raise Problem(422, "future-time", said)
    at = entry.occurred_at or now
    if at < EARLIEST:
        raise Problem(422, "too-early", f"occurred_at {time_text(at)} lies before the year {EARLIEST.year}: correct it")
    if portfolio.closed_at is not None and (isinstance(entry, Close) or at > portfolio.closed_at):
        said = f"the portfolio was closed at {time_text(portfolio.closed_at)}: enter what happened before then"
        raise Problem(409, "portfolio-closed", said)
    return at


def trade_event_id(trade: TradeExecuted, portfolio_id: UUID, rows: Rows) -> UUID:
    """The id of the fill, which derives from what its venue calls it. Raises Problem for one that is recorded already.

    After a reversal the fill can be entered anew, once again.
    """
    names = (trade.venue, trade.account, trade.instrument, trade.venue_trade_id)
    own_fill = own_fill_id(*names)
    if rows.recorded(own_fill) is not None and rows.get(Reversal, own_fill) is None:
        raise _twice(trade, own_fill)
    found = entered(derived_id("trade", portfolio_id, *names), rows.recorded, lambda one: _reversed_by(rows, one))
    if found.stands is not None:
        raise _twice(trade, found.stands.event_id)
    return found.free


def _reversed_by(rows: Rows, event_id: UUID) -> UUID | None:
    reversal = rows.get(Reversal, event_id)
    return None if reversal is None else reversal.reversed_by


def reversal_of(event_id: UUID, reason: str, new_id: UUID, rows: Rows, actor: str = "owner") -> NewEvent:
    """What takes the event back, in its story and at its time. Raises Problem 404, 409 or 422."""
    target = rows.recorded(event_id)
    if target is None:
        raise Problem(404, "unknown-event", f"there is no trade and no other event {event_id} in this portfolio")
    reversal = rows.get(Reversal, event_id)
    if reversal is not None:
        said = f"{target.type} {event_id} was taken back already: {reversal.reason[:200]}"
        raise Problem(409, "already-reversed", said, reversed_by=str(reversal.reversed_by))
    if not reversible(target):
        said = f"{target.type} {event_id} moves no value: there is nothing to take back"
        raise Problem(422, "not-reversible", said)
    event = TradeReversed(reverses=event_id, reason=reason)
    return NewEvent(event, new_id, target.occurred_at, actor, target.correlation_id, event_id)


def open_portfolio(
    book: PostgresBook,
    new: NewPortfolio,
    event_id: Callable[[int], UUID],
    now: datetime,
    alongside: Alongside,
    actor: str = "owner",
) -> None:
    """The portfolio is there, empty, with its accounts. Raises Problem for a name that is taken or kept for a market."""
    if MARKETS_OWN.fullmatch(new.name):
        raise Problem(
            422, "reserved-name", f"{new.name!r} is kept for a market that this program trades in: say another"
        )
    names = [one.account for one in new.accounts]
    if len(set(names)) < len(names):
        raise Problem(422, "account-exists", "each account needs a name of its own")
    opened = PortfolioOpened(name=new.name, base_currency=new.base_currency, allow_short=new.allow_short)
    accounts = [AccountOpened(account=one.account, venue=one.venue, mode=one.mode) for one in new.accounts]
    story, portfolio_id = event_id(0), portfolio_id_of(new.name)
    events = [NewEvent(event, event_id(number), now, actor, story) for number, event in enumerate([opened, *accounts])]
    try:
        book.record(portfolio_id, events, 0, alongside=booked_and(alongside, portfolio_id))
    except PositionConflict:
        raise Problem(409, "portfolio-exists", f"there is a portfolio called {new.name!r} already") from None


def known_accounts(accounts: Iterable[str], named: Iterable[str]) -> None:
    """Raises Problem for a name that is none of the accounts."""
    known = list(accounts)
    for name in named:
        if name not in known:
            there = f"the accounts are {', '.join(known)}" if known else "it has none yet"
            detail = f"there is no account {name!r} in this portfolio ({there}): open it with POST /api/v1/accounts"
            raise Problem(422, "unknown-account", detail, accounts=known)


def _twice(trade: TradeExecuted, event_id: UUID) -> Problem:
    detail = f"{trade.venue} trade {trade.venue_trade_id} of {trade.instrument} in {trade.account} is recorded already"
    return Problem(409, "trade-exists", detail, trade_id=str(event_id))


def _named(entry: AnyEntry) -> list[str]:
    return [getattr(entry, name) for name in ("account", "from_account", "to_account") if hasattr(entry, name)]


def _event(entry: AnyEntry, portfolio: PortfolioView, accounts: Mapping[str, AccountView]) -> Event:
    match entry:
        case TradeElsewhere():
            return _trade(entry, portfolio.base_currency, accounts[entry.account].venue)
        case Income():
            return _income(entry, portfolio.base_currency)
    fields = {name: getattr(entry, name) for name in type(entry).model_fields if name not in ("kind", "occurred_at")}
    if isinstance(entry, CashDeposit | CashWithdrawal) and entry.asset is None:
        fields["asset"] = portfolio.base_currency
    return SAME_NAME[type(entry)](**fields)


def _income(entry: Income, currency: str) -> IncomeReceived:
    value = entry.quantity if entry.value is None and entry.asset == currency else entry.value
    if value is None:
        raise Problem(422, "not-bookable", f"value is needed: what {entry.asset} was worth in {currency} when it came")
    return IncomeReceived(
        account=entry.account, asset=entry.asset, quantity=entry.quantity, value=value, kind=entry.income_kind
    )


def _trade(entry: TradeElsewhere, currency: str, venue: str) -> TradeExecuted:
    rate = ZERO + 1 if entry.quote_rate is None and entry.product_id.quote == currency else entry.quote_rate
    if rate is None:
        quote = entry.product_id.quote
        raise Problem(422, "not-bookable", f"quote_rate is needed: what one {quote} was worth in {currency} then")
    return TradeExecuted(
        account=entry.account,
        venue=venue,
        venue_trade_id=entry.venue_trade_id,
        instrument=entry.product_id,
        side=entry.side,
        quantity=entry.quantity,
        price=entry.price,
        fees=entry.fees,
        quote_rate=rate,
        triggered_by=entry.triggered_by,
    )
