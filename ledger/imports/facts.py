"""Fills and movements as a file states them, and their events in a portfolio of a given base currency."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

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
from ledger.events.fields import Fee, Source, fault_text
from ledger.values import ZERO, Asset, Instrument, Side, decimal_text, derived_id, round18, time_text

IncomeKind = Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]
Worth = Callable[[Asset, datetime], Decimal | None]
"""Value in base currency of one unit of an asset at a time, None if unknown."""

ONE: Final = Decimal(1)
EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""Earlier times are taken for typing errors."""
_SOURCE: Final[TypeAdapter[str]] = TypeAdapter(Source)


class BadRow(DaybookError):
    """A row cannot become an event. The text names the field and the fault."""


class StatedFee(NamedTuple):
    """A fee, or a rebate when negative. `value` is in the portfolio's base currency, where the file states it."""

    asset: Asset
    amount: Decimal
    value: Decimal | None = None


class StatedFill(NamedTuple):
    """A trade. `id` is the venue's, or derived from the row; `quote_rate` is None where the file does not state it.

    `symbol` is the instrument as our own format writes it. `triggered_by` is not validated here: `source_flaw` does.
    """

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
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Movement:
    """Any other change of a balance.

    `value` is a deposit's cost, otherwise the market value; it is in `value_currency`, or in base currency if that is None.
    """

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


def unknown(_asset: Asset, _time: datetime) -> None:
    """The `Worth` of a file that states no market values."""


def event_of(fact: Fact, base: Asset, worth: Worth = unknown) -> Event:
    """The event in a portfolio of base currency `base`; `worth` supplies values the row does not state. Raises BadRow."""
    if fact.time < EARLIEST:
        raise BadRow(f"time: {time_text(fact.time)} is before the year {EARLIEST.year}: correct it")
    try:
        return _trade(fact, base, worth) if isinstance(fact, StatedFill) else _movement(fact, base, worth)
    except ValidationError as error:
        raise BadRow(sentences(error)) from None


@lru_cache(256)
def source_flaw(triggered_by: str) -> str:
    """Why the text is not a valid source, empty if it is one."""
    try:
        _SOURCE.validate_python(triggered_by)
    except ValidationError:
        text = triggered_by[:100].encode("utf-8", "replace").decode()
        return f"triggered_by: {text!r} is not manual, sync, import, bot:… or exit:…"
    return ""


def event_id_of(portfolio_id: UUID, fact: Fact) -> UUID:
    """Id of the fact's event: the same in every file, so that a fact is recorded once."""
    if isinstance(fact, StatedFill):
        return derived_id("trade", portfolio_id, fact.venue, fact.account, fact.instrument, fact.id)
    return derived_id(fact.kind, portfolio_id, fact.venue, fact.account, fact.asset, fact.id)


def price_of(quantity: Decimal, price: Decimal, cost: Decimal) -> Decimal:
    """`price` where it gives exactly `cost`, else the cost per unit, rounded half to even at 18 places.

    Venues round the price, the cost, or both. The cost is what left the account, so it decides.
    """
    return price if quantity * price == cost or not quantity else round18(cost / quantity)


def sentences(error: ValidationError) -> str:
    """The validation error in one line, field by field."""
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False):
        field_name = ".".join(str(part) for part in one["loc"]) or "fee"
        found.append(f"{field_name}: {fault_text(one)}")
    return "; ".join(found)


def _trade(fill: StatedFill, base: Asset, worth: Worth) -> TradeExecuted:
    if flaw := source_flaw(fill.triggered_by):
        raise BadRow(flaw)
    rate = _quote_rate(fill, base, worth)
    return TradeExecuted(
        account=fill.account,
        venue=fill.venue,
        venue_trade_id=fill.id,
        instrument=fill.instrument,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        fees=tuple([_fee(fee, fill, base, worth) for fee in fill.fees]),
        quote_rate=rate,
        triggered_by=fill.triggered_by,
    )


def _quote_rate(fill: StatedFill, base: Asset, worth: Worth) -> Decimal:
    quote = fill.instrument.quote
    if quote == base:
        if fill.quote_rate not in (None, ONE):
            raise BadRow(
                f"quote_rate: {decimal_text(fill.quote_rate)}, but the price is in the base currency {base}: leave it empty"
            )
        return ONE
    rate = fill.quote_rate or worth(quote, fill.time)
    if not rate:
        raise BadRow(
            f"quote_rate is missing: the price is in {quote}, not in {base}: state the value of one {quote} in {base}"
            f" in a column quote_rate, or use a portfolio kept in {quote}"
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
            f"the fee of {decimal_text(fee.amount)} {fee.asset} has no value in {base}: state it in a column fee_value"
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
                elsewhere = f" (its value is in {moved.value_currency})" if moved.value_currency else ""
                raise BadRow(
                    f"the income of {decimal_text(quantity)} {asset} has no value in {base}{elsewhere}: "
                    "state it in a column income_value"
                )
            return IncomeReceived(account=account, asset=asset, quantity=quantity, value=value, kind=moved.income)


def _value(moved: Movement, base: Asset) -> Decimal | None:
    """The stated value, None if it is in another currency."""
    return moved.value if moved.value_currency in (None, base) else None
