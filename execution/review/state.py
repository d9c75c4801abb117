"""Everything that a rule reads: the ledger's rows at one log position, the portfolio's exposure, and the proposed order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from functools import cached_property
from itertools import groupby
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import InstrumentRules, Terms
from ledger.booking.lots import Leg, Match, Split
from ledger.events import SignalEmitted
from ledger.events.fields import RuleChecked
from ledger.projections.book import Reading
from ledger.projections.bots import BotView
from ledger.projections.orders import OrderView
from ledger.projections.policy import halt_reason, limit_of, minutes
from ledger.projections.portfolio import AccountView, Balance, base_currency_of
from ledger.projections.signals import OpinionView, SignalView
from ledger.projections.valuation import Mark, PortfolioValuation, PositionValuation, price_before, value_portfolio
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, Side, decimal_text, round18, time_text

LOOKS_BACK: Final = timedelta(days=7)
"""The history that drawdown, biases and baselines are computed from, before 00:00 UTC today."""

TRADED: Final = ("trade", "fee")
"""The kinds of leg that were exchanged for cash."""


@dataclass(frozen=True)
class DecisionState:
    """Rows at `position` and the time of the decision. `stopped` is the reason if the rows lag behind the log."""

    rows: Rows
    position: int
    now: datetime
    stopped: str | None

    @classmethod
    def of(cls, reading: Reading, now: datetime) -> "DecisionState":
        """The state that `reading` shows at `now`."""
        stopped = reading.stopped
        why = None if stopped is None else f"views stopped at position {stopped.position}: {stopped.reason}"
        return cls(reading.rows, reading.position, now, why)

    @property
    def base_currency(self) -> str:
        return base_currency_of(self.rows)

    @property
    def halted(self) -> str | None:
        """The reason why trading is halted, or None."""
        return self.stopped or halt_reason(self.rows)

    def limit(self, name: str) -> Decimal:
        return limit_of(self.rows, name)

    def window(self, name: str) -> timedelta:
        """The limit `name`, which is in minutes, to the microsecond; at most `LONGEST`."""
        return minutes(self.limit(name))

    def account(self, name: str) -> AccountView | None:
        return self.rows.get(AccountView, name)

    def first_account(self) -> AccountView | None:
        """The default account: the paper account opened first, or the live account opened first if there is no paper one."""
        accounts = self.rows.where(AccountView)
        return min(accounts, key=lambda one: (one.mode != "paper", one.opened_at, one.account), default=None)

    def balance(self, account: str, asset: str) -> Decimal:
        found = self.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    def mark(self, instrument: Instrument) -> Mark | None:
        return self.rows.get(Mark, str(instrument))

    def opinion(self, bot_id: str, instrument: str) -> OpinionView | None:
        return self.rows.get(OpinionView, bot_id, str(instrument))

    def open_orders(self, instrument: str | None = None) -> Iterator[OrderView]:
        """Orders that have not ended, of one instrument or of all."""
        return (one for one in self.rows.where(OrderView) if instrument is None or one.instrument == instrument)

    def pending_buys(self, instrument: Instrument | None = None) -> Decimal:
        """The most that open buy orders may still spend, in this instrument or in all."""
        orders = self.open_orders(None if instrument is None else str(instrument))
        return sum((self._still_to_spend(one) for one in orders if one.side == "buy"), ZERO)

    def available(self, account: str, asset: str, fee_rate: Decimal) -> Decimal:
        """The balance less the most that open orders (also of unknown outcome) may still take of it, fees included."""
        return self.balance(account, asset) - sum(
            (self._reserved(one, account, asset, fee_rate) for one in self.open_orders()), ZERO
        )

    def _reserved(self, order: OrderView, account: str, asset: str, fee_rate: Decimal) -> Decimal:
        instrument = Instrument(order.instrument)
        if order.account != account or asset not in (instrument.base, instrument.quote):
            return ZERO
        if order.side == "sell" and asset == instrument.base:
            price = self._price(order)
            size = order.base_size if order.base_size is not None else (order.quote_size or ZERO) / price
            return max(size - order.filled_quantity, ZERO)
        if order.side == "buy" and asset == instrument.quote:
            return self._still_to_spend(order) * (1 + fee_rate)
        return ZERO

    def _still_to_spend(self, order: OrderView) -> Decimal:
        size = order.quote_size if order.quote_size is not None else (order.base_size or ZERO) * self._price(order)
        return max(size - order.filled_value, ZERO)

    def _price(self, order: OrderView) -> Decimal:
        mark = self.mark(Instrument(order.instrument))
        return order.limit_price or order.stop_price or (mark.price if mark else Decimal(1))

    @cached_property
    def exposure(self) -> "Exposure":
        """The portfolio's value, positions and recent trades. Computed once for each decision."""
        return _exposure_of(self.rows, self.now)


# --- exposure ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Closing:
    """The gain of one disposal; lots of unknown cost are left out. `value` is its proceeds."""

    event_id: UUID
    closed_at: datetime
    gain: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Exposure:
    """The portfolio's value and recent trades. Values in base currency, times ascending. `today` is 00:00 UTC of the decision's day.

    `legs`, `matches` and `closings` are those of trades since `LOOKS_BACK` before today. `gain_today` is realised and
    unrealised gain since `today`: open positions at marks, those from before valued at the day's opening price.
    """

    today: datetime
    valuation: PortfolioValuation
    gain_today: Decimal
    legs: tuple[Leg, ...]
    matches: tuple[Match, ...]
    closings: tuple[Closing, ...]

    @property
    def total(self) -> Decimal:
        """Cash and positions; a position without a price counts at cost."""
        return self.valuation.cash + sum((_value(one) for one in self.valuation.positions), ZERO)

    def position_value(self, instrument: Instrument) -> Decimal:
        """The value of the position in the instrument."""
        return sum((_value(one) for one in self.valuation.positions if one.product_id == str(instrument)), ZERO)

    @property
    def invested(self) -> Decimal:
        """The value of all positions."""
        return self.total - self.valuation.cash

    @property
    def closed_today(self) -> tuple[Closing, ...]:
        return tuple(one for one in self.closings if one.closed_at >= self.today)

    @property
    def traded_today(self) -> tuple[Leg, ...]:
        return tuple(one for one in self.legs if one.occurred_at >= self.today)

    def streak_today(self, *, won: bool) -> list[Closing]:
        """The newest disposals of today in a row that gained (or lost), newest first; an even one ends the streak."""
        found: list[Closing] = []
        for one in reversed(self.closed_today):
            if one.gain == 0 or (one.gain > 0) is not won:
                break
            found.append(one)
        return found


def _exposure_of(rows: Rows, now: datetime) -> Exposure:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    worth, legs, matches = value_portfolio(rows), list[Leg](), list[Match]()
    gain = ZERO
    for position in worth.positions:
        asset, start = position.product_id.removesuffix(f"-{worth.base_currency}"), today - LOOKS_BACK
        traded = [leg for leg in rows.since(Leg, asset, start) if leg.kind == "trade"]
        closed = [match for match in rows.since(Match, asset, start) if match.kind == "trade" and match.cost_known]
        gain += _gain(rows, asset, position, today, closed)
        legs += traded
        matches += closed
    matches.sort(key=lambda one: (one.closed_at, one.closing_position, one.closing_leg))
    legs.sort(key=lambda one: (one.occurred_at, one.position, one.leg))
    return Exposure(today, worth, gain, tuple(legs), tuple(matches), tuple(_closings(matches)))


def _value(position: PositionValuation) -> Decimal:
    return position.current_value if position.current_value is not None else position.cost_basis or ZERO


def _gain(rows: Rows, asset: str, position: PositionValuation, today: datetime, closed: Iterable[Match]) -> Decimal:
    """The position's gain today by marks; without a mark, or after a split today, the realised gain alone.

    Transfers in and out gain nothing by themselves.
    """
    price = position.price
    if price is None or any(rows.since(Split, asset, today)):
        return sum((match.realized_pnl for match in closed if match.closed_at >= today), ZERO)
    before = price_before(rows, position.product_id, today) or price
    held, gain = position.quantity + position.unmatched_quantity, ZERO
    for leg in rows.since(Leg, asset, today):
        worth = leg.value if leg.kind in TRADED else abs(leg.quantity) * price
        gain += -worth if leg.quantity > 0 else worth
        held -= leg.quantity
    now = (position.quantity + position.unmatched_quantity) * price
    return round18(gain + now - held * before)


def _closings(matches: list[Match]) -> list[Closing]:
    found = []
    for event_id, group in groupby(matches, key=lambda one: one.closing_event_id):
        parts = list(group)
        gain = sum((one.realized_pnl for one in parts), ZERO)
        found.append(Closing(event_id, parts[0].closed_at, gain, sum((one.proceeds for one in parts), ZERO)))
    return found


# --- the proposed order -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opinion:
    """A bot's opinion of an instrument at `asof` (UTC). `score` is −1 (sell) … 1 (buy), `confidence` 0 … 1.

    `price` is the price it was formed at. `awaits_approval` is True from the request for approval on.
    """

    bot_id: str
    instrument: Instrument
    asof: datetime
    score: Decimal
    confidence: Decimal
    price: Decimal | None = None
    horizon: timedelta | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    awaits_approval: bool = False

    @classmethod
    def of_signal(cls, signal: SignalView, rows: Rows) -> "Opinion":
        """The opinion of a stored signal."""
        recorded = rows.recorded(signal.signal_id)
        emitted = recorded.event if recorded is not None else None
        levels = (emitted.stop_loss, emitted.take_profit) if isinstance(emitted, SignalEmitted) else (None, None)
        return cls(
            signal.bot_id,
            Instrument(signal.instrument),
            signal.asof,
            signal.score,
            signal.confidence,
            signal.price,
            None if signal.horizon_s is None else timedelta(seconds=signal.horizon_s),
            *levels,
            awaits_approval=signal.status == "asked",
        )

    @classmethod
    def of_bot(cls, bot: BotView) -> "Opinion | None":
        """The bot's last opinion, or None before the first."""
        if bot.last_asof is None:
            return None
        score, confidence = bot.last_score or ZERO, bot.last_confidence or ZERO
        return cls(bot.bot_id, Instrument(bot.instrument), bot.last_asof, score, confidence)


@dataclass(frozen=True, slots=True)
class Size:
    """An order's size: `value` in quote currency, and for a sale the base quantity `base_size` worth that much."""

    value: Decimal
    base_size: Decimal | None

    def at_most(self, most: Decimal, price: Decimal, lot: Decimal) -> "Size":
        """The size reduced to a value of `most`; a sale in whole lots."""
        if self.base_size is None:
            return Size(min(most, self.value), None)
        sold = min(in_lots(most / price, lot), self.base_size)
        return Size(round18(sold * price), sold)


@dataclass(frozen=True, slots=True)
class Proposal:
    """The order under review, as far as it is known. `side` is None for an opinion to hold.

    `opinion` is None for a manual order; `agreed` names the person who approved the signal; `terms` are those of a
    manual order (bots' orders have terms that every venue takes).
    """

    instrument: Instrument
    side: Side | None
    price: Decimal | None
    size: Size | None
    account: AccountView | None
    venue_rules: InstrumentRules | None
    opinion: Opinion | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    agreed: str | None = None
    terms: Terms | None = None

    @property
    def value(self) -> Decimal:
        """The size in quote currency; 0 while it is not known."""
        return self.size.value if self.size else ZERO

    @property
    def of_bot(self) -> Opinion:
        """The opinion behind a bot's order; rules for signals check no other."""
        assert self.opinion is not None, "a rule for signals checked an order without an opinion"
        return self.opinion


Rule = Callable[[Proposal, DecisionState], RuleChecked]


def checked(rule: str, passed: bool, reason: str, **numbers: Decimal | datetime | str | int | None) -> RuleChecked:
    """A rule's answer; numbers become text."""
    return RuleChecked(
        rule=rule, passed=passed, reason=reason, numbers={name: text_of(n) for name, n in numbers.items()}
    )


def seconds(duration: timedelta) -> str:
    """Seconds as text with all decimals: 90.5 s is not shown as 90."""
    return decimal_text(Decimal(duration // timedelta(microseconds=1)).scaleb(-6))


def text_of(value: Decimal | datetime | str | int | None) -> str:
    """A number of an answer as text."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    return "none" if value is None else str(value)


def short(number: Decimal) -> str:
    """The number to two decimals, for sentences; the numbers of an answer are exact."""
    return decimal_text(number.quantize(Decimal("0.01")))


def temperature(score: Decimal, state: DecisionState) -> str:
    """HOT, WARM, COOL or FROZEN by |score|; the lower bounds are limits of the policy and inclusive."""
    for name in ("hot", "warm", "cool"):
        if abs(score) >= state.limit(f"{name}_score"):
            return name.upper()
    return "FROZEN"


def in_lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """The largest multiple of `lot` that is not above `quantity`."""
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot
