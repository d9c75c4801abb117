"""The events of entries and reversals, checked against everything on which a fold would stop."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from ledger.booking.legs import UnvaluedLeg, gross_value, moves_of, total_fees
from ledger.entries.errors import (
    AccountExists,
    AlreadyReversed,
    FutureTime,
    NoSuchEvent,
    NotBookable,
    NotReversible,
    PortfolioIsClosed,
    TooEarly,
    TradeExists,
    UnknownAccount,
    UnknownTrade,
)
from ledger.entries.kinds import (
    AnyEntry,
    AssetDeposit,
    AssetWithdrawal,
    CashDeposit,
    CashWithdrawal,
    Close,
    Entry,
    FeePaid,
    Income,
    OpeningLot,
    Split,
    TradeElsewhere,
    Transfer,
)
from ledger.events import (
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    Event,
    FeeCharged,
    IncomeReceived,
    OpeningLotRecorded,
    PortfolioClosed,
    SplitRecorded,
    TradeExecuted,
    TradeReversed,
    TransferRecorded,
)
from ledger.imports.facts import EARLIEST
from ledger.imports.reentry import entered, own_fill_id
from ledger.log.envelope import NewEvent
from ledger.projections.portfolio import AccountView, PortfolioView, portfolio_of
from ledger.projections.reversals import Reversal, reversible
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import INTEGER_DIGITS, ZERO, derived_id, time_text

LARGEST: Final = Decimal(10) ** INTEGER_DIGITS
"""Every number stays below this, so that it can be stored and reported."""

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


def entry_event(entry: AnyEntry, rows: Rows) -> Event:
    """The event that `entry` is in the portfolio with these rows. Raises CannotRecord."""
    portfolio = portfolio_of(rows)
    accounts = {view.account: view for view in rows.where(AccountView)}
    known_accounts(accounts, _named(entry))
    if isinstance(entry, FeePaid) and entry.trade_id is not None and rows.get(TradeView, entry.trade_id) is None:
        raise UnknownTrade(f"there is no trade {entry.trade_id} in this portfolio: leave trade_id out")
    if isinstance(entry, Split) and entry.numerator == entry.denominator:
        raise NotBookable(
            f"a split of {entry.numerator} for {entry.denominator} changes nothing: numerator and denominator must differ"
        )
    try:
        event = _event(entry, portfolio, accounts)
        moves = moves_of(event, portfolio.base_currency)
    except ValidationError as error:
        reasons = (str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise NotBookable("; ".join(reasons)) from None
    except UnvaluedLeg as error:
        raise NotBookable(str(error)) from None
    if isinstance(event, SplitRecorded) and event.asset == portfolio.base_currency:
        raise NotBookable(f"{event.asset} is the base currency: it cannot split")
    values = [value for move in moves for value in (move.quantity, move.value, move.fee)]
    if isinstance(event, TradeExecuted):
        values += [gross_value(event), total_fees(event)]
    if any(abs(value) >= LARGEST for value in values):
        raise NotBookable(f"a quantity or value has more than {INTEGER_DIGITS} digits")
    return event


def entry_time(entry: AnyEntry, portfolio: PortfolioView, now: datetime) -> datetime:
    """The time of the entry. Raises FutureTime, TooEarly and PortfolioIsClosed."""
    if entry.occurred_at is not None and entry.occurred_at > now:
        raise FutureTime(
            f"occurred_at {time_text(entry.occurred_at)} is in the future: it is {time_text(now)} in this portfolio"
        )
    at = entry.occurred_at or now
    if at < EARLIEST:
        raise TooEarly(f"occurred_at {time_text(at)} is before the year {EARLIEST.year}: correct it")
    if portfolio.closed_at is not None and (isinstance(entry, Close) or at > portfolio.closed_at):
        raise PortfolioIsClosed(
            f"the portfolio was closed at {time_text(portfolio.closed_at)}: only earlier entries are accepted"
        )
    return at


def trade_event_id(trade: TradeExecuted, portfolio_id: UUID, rows: Rows) -> UUID:
    """The id of the fill, derived from its venue's id. After a reversal the fill can be entered again.

    Raises TradeExists.
    """
    names = (trade.venue, trade.account, trade.instrument, trade.venue_trade_id)
    own_fill = own_fill_id(*names)
    if rows.recorded(own_fill) is not None and rows.get(Reversal, own_fill) is None:
        raise _exists(trade, own_fill)
    found = entered(derived_id("trade", portfolio_id, *names), rows.recorded, lambda one: _reversed_by(rows, one))
    if found.valid is not None:
        raise _exists(trade, found.valid.event_id)
    return found.next_id


def _reversed_by(rows: Rows, event_id: UUID) -> UUID | None:
    reversal = rows.get(Reversal, event_id)
    return None if reversal is None else reversal.reversed_by


def reversal_of(event_id: UUID, reason: str, new_id: UUID, rows: Rows, actor: str = "owner") -> NewEvent:
    """The reversal of the event, with its correlation and time. Raises NoSuchEvent, AlreadyReversed and NotReversible."""
    target = rows.recorded(event_id)
    if target is None:
        raise NoSuchEvent(f"there is no trade and no other event {event_id} in this portfolio")
    reversal = rows.get(Reversal, event_id)
    if reversal is not None:
        detail = f"{target.type} {event_id} is already reversed: {reversal.reason[:200]}"
        raise AlreadyReversed(detail, reversal.reversed_by)
    if not reversible(target):
        raise NotReversible(f"{target.type} {event_id} moves no value: there is nothing to reverse")
    event = TradeReversed(reverses=event_id, reason=reason)
    return NewEvent(event, new_id, target.occurred_at, actor, target.correlation_id, event_id)


def check_new_account(account: str, rows: Rows) -> None:
    """Check that an account of this name can be opened. Raises PortfolioIsClosed and AccountExists."""
    portfolio = portfolio_of(rows)
    if portfolio.closed_at is not None:
        raise PortfolioIsClosed(
            f"the portfolio was closed at {time_text(portfolio.closed_at)}: no account can be opened in it"
        )
    if rows.get(AccountView, account) is not None:
        raise AccountExists(f"there is already an account called {account!r}")


def known_accounts(accounts: Iterable[str], named: Iterable[str]) -> None:
    """Raise UnknownAccount for a name that is not among the accounts."""
    known = list(accounts)
    for name in named:
        if name not in known:
            there = f"the accounts are {', '.join(known)}" if known else "it has none yet"
            detail = f"there is no account {name!r} in this portfolio ({there}): open it with POST /api/v1/accounts"
            raise UnknownAccount(detail, known)


def _exists(trade: TradeExecuted, event_id: UUID) -> TradeExists:
    detail = f"{trade.venue} trade {trade.venue_trade_id} of {trade.instrument} in {trade.account} is already recorded"
    return TradeExists(detail, event_id)


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
        raise NotBookable(f"value is missing: state the value of the {entry.asset} received in {currency}")
    return IncomeReceived(
        account=entry.account, asset=entry.asset, quantity=entry.quantity, value=value, kind=entry.income_kind
    )


def _trade(entry: TradeElsewhere, currency: str, venue: str) -> TradeExecuted:
    rate = ZERO + 1 if entry.quote_rate is None and entry.product_id.quote == currency else entry.quote_rate
    if rate is None:
        quote = entry.product_id.quote
        raise NotBookable(f"quote_rate is missing: state the value of one {quote} in {currency}")
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
