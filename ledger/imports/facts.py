"""Fills and movements as a file states them. What event each becomes depends on the portfolio's base currency."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from pydantic import ValidationError

from ledger.errors import DaybookError
from ledger.events import (
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    Event,
    FeeCharged,
    IncomeReceived,
    TradeExecuted,
)
from ledger.events.fields import Fee, fault_text
from ledger.values import ZERO, Asset, Instrument, Side, decimal_text, derived_id, round18, time_text

IncomeKind = Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]
Worth = Callable[[Asset, datetime], Decimal | None]
"""What one unit of an asset was worth in base currency at a time, or None when nobody knows."""

ONE: Final = Decimal(1)


EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""No market of which a ledger is kept is older: what is dated before it is a mistake in writing."""


class BadRow(DaybookError):
    """A row cannot become an event; the text says what is wrong with which field."""


@dataclass(frozen=True, slots=True)
class StatedFee:
    """A fee (a rebate when negative); `value` is what it was worth in the portfolio's base currency, where that is told."""

    asset: Asset
    amount: Decimal
    value: Decimal | None = None


@dataclass(frozen=True, slots=True)
class StatedFill:
    """A trade. `id` is the venue's, or one derived from the row; `quote_rate` is None where the file does not tell it."""

    id: str
    time: datetime
    venue: str
    account: str
    instrument: Instrument
    side: Side
    quantity: Decimal
    price: Decimal
    fees: tuple[StatedFee, ...] = ()
    quote_rate: Decimal | None = None
    triggered_by: str = "import"
    order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """Anything else that changes what is held. `value` in base currency: the cost of a deposit, the worth of the rest."""

    kind: Literal["deposit", "withdrawal", "income", "fee"]
    id: str
    time: datetime
    venue: str
    account: str
    asset: Asset
    quantity: Decimal
    value: Decimal | None = None
    income: IncomeKind = "other"
    value_currency: Asset | None = None


Fact = StatedFill | Movement


def nobody_knows(_asset: Asset, _time: datetime) -> None:
    """No worth of anything is known."""


def event_of(fact: Fact, base: Asset, worth: Worth = nobody_knows) -> Event:
    """The event of a portfolio kept in `base`. `worth` is asked where the row itself states no value. Raises BadRow."""
    must_be_possible(fact.time)
    try:
        return _trade(fact, base, worth) if isinstance(fact, StatedFill) else _movement(fact, base, worth)
    except ValidationError as error:
        raise BadRow(sentences(error)) from None


def must_be_possible(time: datetime) -> None:
    """Raises BadRow for a time before EARLIEST."""
    if time < EARLIEST:
        raise BadRow(f"time: {time_text(time)} lies before the year {EARLIEST.year}: correct it")


def event_id_of(portfolio_id: UUID, fact: Fact) -> UUID:
    """The same for the same fact in every file, so that a repeat is one event."""
    if isinstance(fact, StatedFill):
        return derived_id("trade", portfolio_id, fact.venue, fact.account, fact.instrument, fact.id)
    return derived_id(fact.kind, portfolio_id, fact.venue, fact.account, fact.asset, fact.id)


def price_of(quantity: Decimal, price: Decimal, cost: Decimal) -> Decimal:
    """`price`, where it gives exactly what was paid; else what was paid per unit, at 18 places (half to even).

    Venues round the price, the cost, or both. What was paid is what left the account, so it decides.
    """
    return price if quantity * price == cost or not quantity else round18(cost / quantity)


def sentences(error: ValidationError) -> str:
    """What is wrong, field by field, in one line."""
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False):
        field_name = ".".join(str(part) for part in one["loc"]) or "fee"
        found.append(f"{field_name}: {fault_text(one)}")
    return "; ".join(found)


def _trade(fill: StatedFill, base: Asset, worth: Worth) -> TradeExecuted:
    rate = _quote_rate(fill, base, worth)
    return TradeExecuted(
        account=fill.account,
        venue=fill.venue,
        venue_trade_id=fill.id,
        instrument=fill.instrument,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        fees=tuple(_fee(fee, fill, base, worth) for fee in fill.fees),
        quote_rate=rate,
        triggered_by=fill.triggered_by,
    )


def _quote_rate(fill: StatedFill, base: Asset, worth: Worth) -> Decimal:
    quote = fill.instrument.quote
    if quote == base:
        if fill.quote_rate not in (None, ONE):
            raise BadRow(f"quote_rate: {decimal_text(fill.quote_rate)} cannot be: one {quote} is worth one {base}")
        return ONE
    rate = fill.quote_rate or worth(quote, fill.time)
    if not rate:
        raise BadRow(
            f"quote_rate is missing: the price is in {quote}, not in {base}: say in a column quote_rate what one {quote}"
            f" was worth in {base}, or use a portfolio kept in {quote}"
        )
    return rate


def _fee(fee: StatedFee, fill: StatedFill, base: Asset, worth: Worth) -> Fee:
    if fee.asset in (fill.instrument.base, fill.instrument.quote):
        return Fee(asset=fee.asset, amount=fee.amount)
    return _valued(fee, fill.time, base, worth)


def _valued(fee: StatedFee, time: datetime, base: Asset, worth: Worth) -> Fee:
    if fee.asset == base:
        return Fee(asset=fee.asset, amount=fee.amount, value=fee.amount)
    value = fee.value if fee.value is not None else _total(worth(fee.asset, time), fee.amount)
    if value is None:
        raise BadRow(
            f"the fee of {decimal_text(fee.amount)} {fee.asset} has no value in {base}: "
            "say in a column fee_value what it was worth"
        )
    return Fee(asset=fee.asset, amount=fee.amount, value=value)


def _total(each: Decimal | None, quantity: Decimal) -> Decimal | None:
    return None if each is None else round18(each * quantity)


def _movement(moved: Movement, base: Asset, worth: Worth) -> Event:
    account, asset, quantity, cash = moved.account, moved.asset, moved.quantity, moved.asset == base
    if quantity <= ZERO:
        raise BadRow(f"the amount of {decimal_text(quantity)} {asset} is not greater than 0")
    match moved.kind:
        case "deposit" if cash:
            return CashDeposited(account=account, asset=asset, amount=quantity)
        case "deposit":
            return AssetDeposited(account=account, asset=asset, quantity=quantity, cost=_value(moved, base))
        case "withdrawal" if cash:
            return CashWithdrawn(account=account, asset=asset, amount=quantity)
        case "withdrawal":
            return AssetWithdrawn(account=account, asset=asset, quantity=quantity)
        case "fee":
            stated = StatedFee(asset, quantity, _value(moved, base))
            return FeeCharged(account=account, fee=_valued(stated, moved.time, base, worth))
        case "income":
            value = quantity if cash else _value(moved, base)
            value = value if value is not None else _total(worth(asset, moved.time), quantity)
            if value is None:
                told = f" (it is told in {moved.value_currency})" if moved.value_currency else ""
                raise BadRow(
                    f"the income of {decimal_text(quantity)} {asset} has no value in {base}{told}: "
                    "say in a column income_value what it was worth"
                )
            return IncomeReceived(account=account, asset=asset, quantity=quantity, value=value, kind=moved.income)


def _value(moved: Movement, base: Asset) -> Decimal | None:
    """The stated value, if it is told in the base currency."""
    return moved.value if moved.value_currency in (None, base) else None
