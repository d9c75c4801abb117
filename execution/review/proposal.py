"""The proposed order that rules check: its opinion, its size, and the form of a rule's answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from execution.exchanges.exchange import InstrumentRules, Terms
from execution.review.state import DecisionState
from ledger.events import SignalEmitted
from ledger.events.fields import RuleChecked
from ledger.projections.bots import BotView
from ledger.projections.portfolio import AccountView
from ledger.projections.signals import SignalView
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, Side, decimal_text, round18, time_text


@dataclass(frozen=True, slots=True)
class Opinion:
    """A bot's opinion of an instrument at `asof` (UTC). `score` is −1 (sell) … 1 (buy), `confidence` 0 … 1.

    `price` is the price it was formed at. `awaits_approval` is True once a person has been asked about it.
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


# --- size -------------------------------------------------------------------------------------------------------------


def signal_size(
    side: Side,
    wanted: Decimal,
    price: Decimal,
    instrument: Instrument,
    account: str,
    rules: InstrumentRules,
    state: DecisionState,
) -> Size:
    """`wanted` (in quote), reduced to the cash that the account can spend, fees included, or to the quantity it can sell."""
    if side is Side.BUY:
        affordable = spendable(state.available(account, instrument.quote, rules.taker_fee), rules)
        return Size(min(wanted, affordable).quantize(Decimal("0.01"), rounding=ROUND_DOWN), None)
    held = in_lots(max(state.available(account, instrument.base, rules.taker_fee), ZERO), rules.lot)
    sold = _sold(held, wanted, price, rules, state)
    return Size(round18(sold * price), sold)


def wanted_value(score: Decimal, state: DecisionState) -> Decimal:
    """Base trade times the multiplier of the temperature, at most the largest trade; in quote currency."""
    multipliers = {"HOT": state.limit("hot_multiplier"), "WARM": state.limit("warm_multiplier")}
    wanted = state.limit("base_trade") * multipliers.get(temperature(score, state), Decimal(1))
    return min(wanted, state.limit("maximum_trade"))


def temperature(score: Decimal, state: DecisionState) -> str:
    """HOT, WARM, COOL or FROZEN by |score|; the lower bounds are limits of the policy and inclusive."""
    for name in ("hot", "warm", "cool"):
        if abs(score) >= state.limit(f"{name}_score"):
            return name.upper()
    return "FROZEN"


def spendable(cash: Decimal, rules: InstrumentRules) -> Decimal:
    """The largest order value that `cash` pays for together with its fee."""
    return max(cash, ZERO) / (1 + rules.taker_fee)


def in_lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """The largest multiple of `lot` that is not above `quantity`."""
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot


def _sold(held: Decimal, wanted: Decimal, price: Decimal, rules: InstrumentRules, state: DecisionState) -> Decimal:
    """The part of `held` to sell: worth `wanted`, without leaving a remainder smaller than the smallest trade.

    Such a remainder is sold as well, or, where that exceeds the largest trade, enough is kept for one smallest trade.
    """
    least = state.limit("minimum_trade")
    sold = min(in_lots(wanted / price, rules.lot), held)
    if (held - sold) * price >= least or sold == held:
        return sold
    if held * price <= state.limit("maximum_trade"):
        return held
    return in_lots(max(held - least / price, ZERO), rules.lot)
