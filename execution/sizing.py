"""From an opinion to a wanted size: temperature decides how much, limits and what is there decide the rest."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from execution.desk import Desk
from execution.exchange import InstrumentRules
from ledger.values import Instrument, Side


@dataclass(frozen=True, slots=True)
class Size:
    """What to order: `value` in quote currency, and for a sale the base quantity `base_size` that makes it up."""

    value: Decimal
    base_size: Decimal | None


def temperature(score: Decimal, desk: Desk) -> str:
    """HOT, WARM, COOL or FROZEN by |score|; the lower bounds are limits of the policy and inclusive."""
    for name in ("hot", "warm", "cool"):
        if abs(score) >= desk.limit(f"{name}_score"):
            return name.upper()
    return "FROZEN"


def wanted_value(score: Decimal, desk: Desk) -> Decimal:
    """Base trade times the multiplier of the temperature, at most the largest trade; in quote currency."""
    multipliers = {"HOT": desk.limit("hot_multiplier"), "WARM": desk.limit("warm_multiplier")}
    wanted = desk.limit("base_trade") * multipliers.get(temperature(score, desk), Decimal(1))
    return min(wanted, desk.limit("maximum_trade"))


def signal_size(
    side: Side,
    wanted: Decimal,
    price: Decimal,
    instrument: Instrument,
    account: str,
    rules: InstrumentRules,
    desk: Desk,
) -> Size:
    """`wanted` cut down to what the account can pay for (fees included) or has to sell.

    A sale that would leave less than the smallest trade behind sells it all.
    """
    if side is Side.BUY:
        affordable = spendable(desk.available(account, instrument.quote), rules)
        return Size(min(wanted, affordable).quantize(Decimal("0.01"), rounding=ROUND_DOWN), None)
    held = max(desk.available(account, instrument.base), Decimal(0))
    base_size = min(_steps(wanted / price, rules.lot), _steps(held, rules.lot))
    if (held - base_size) * price < desk.limit("minimum_trade"):
        base_size = _steps(held, rules.lot)
    return Size(base_size * price, base_size)


def spendable(cash: Decimal, rules: InstrumentRules) -> Decimal:
    """How much of `cash` an order may be sized at, so that its fee can be paid as well."""
    return max(cash, Decimal(0)) / (1 + rules.taker_fee)


def _steps(quantity: Decimal, lot: Decimal) -> Decimal:
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot
