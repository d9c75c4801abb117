"""From an opinion to a wanted size: temperature decides how much, limits and what is there decide the rest."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from execution.exchanges.exchange import InstrumentRules
from execution.review.state import DecisionState
from ledger.values import ZERO, Instrument, Side, round18


@dataclass(frozen=True, slots=True)
class Size:
    """What to order: `value` in quote currency, and for a sale the base quantity `base_size` that makes it up."""

    value: Decimal
    base_size: Decimal | None


def signal_size(
    side: Side,
    wanted: Decimal,
    price: Decimal,
    instrument: Instrument,
    account: str,
    rules: InstrumentRules,
    state: DecisionState,
) -> Size:
    """`wanted` (in quote) cut down to what the account can pay for, fees included, or has to sell."""
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


def at_most(most: Decimal, size: Size, price: Decimal, rules: InstrumentRules) -> Size:
    """The size cut down to a value of `most`, a sale in whole lots."""
    if size.base_size is None:
        return Size(min(most, size.value), None)
    sold = min(in_lots(most / price, rules.lot), size.base_size)
    return Size(round18(sold * price), sold)


def spendable(cash: Decimal, rules: InstrumentRules) -> Decimal:
    """How much of `cash` an order may be sized at, so that its fee can be paid as well."""
    return max(cash, ZERO) / (1 + rules.taker_fee)


def in_lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """The largest multiple of the lot that is not above `quantity`."""
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot


def _sold(held: Decimal, wanted: Decimal, price: Decimal, rules: InstrumentRules, state: DecisionState) -> Decimal:
    """How much of `held` to sell: what makes up `wanted`, but never so that less than the smallest trade stays behind.

    Then it is all of it, or, where that is more than the largest trade, so little that the smallest trade stays.
    """
    least = state.limit("minimum_trade")
    sold = min(in_lots(wanted / price, rules.lot), held)
    if (held - sold) * price >= least or sold == held:
        return sold
    if held * price <= state.limit("maximum_trade"):
        return held
    return in_lots(max(held - least / price, ZERO), rules.lot)
