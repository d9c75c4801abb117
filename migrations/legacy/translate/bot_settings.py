"""Converts the settings of a legacy bot to those of a combined bot: same components and weights, inverted sign."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from ledger.log.envelope import canonical_json
from migrations.legacy.read.cells import Row, Unreadable, decimal_in, json_object, number, truth, word

WEIGHTS: Final[Mapping[str, float]] = {"rsi": 0.33, "macd": 0.34, "ma_cross": 0.33}
NAMES: Final[Mapping[str, str]] = {"rsi": "rsi", "macd": "macd", "moving_average": "ma_cross", "ma": "ma_cross"}
"""Legacy name of each component (in any case) and its name here."""
FIGURES: Final = (
    *("position_size_usd", "trade_size_usd", "max_positions", "stop_loss_pct", "take_profit_pct"),
    *("trade_step_pct", "confirmation_minutes", "cooldown_minutes"),
)
SWITCHES: Final = ("skip_signals_on_low_balance", "use_trend_detection", "use_position_sizing")
ZERO_MEANT: Final[Mapping[str, str]] = {"confirmation_minutes": "5", "cooldown_minutes": "15"}
"""The value with which the legacy system replaced a configured 0."""
THRESHOLDS: Final[Mapping[str, str]] = {"buy_threshold": "-0.05", "sell_threshold": "0.05"}


def bot_settings(row: Row) -> tuple[str, dict[str, str], list[str]]:
    """Return the parameters of the combined bot as canonical JSON, all other settings as text, and notes.

    Missing values get the legacy system's defaults; so do unusable ones, with a note. Thresholds are negated like scores.
    """
    config, fault = json_object(row, "signal_config")
    notes = [f"{fault}: the defaults are used"] if fault else []
    known = {NAMES[name.lower()]: given for name, given in config.items() if name.lower() in NAMES}
    given = {kind: found if isinstance(found := known.get(kind), dict) else {} for kind in WEIGHTS}
    components = [_component(kind, given[kind], notes) for kind in WEIGHTS]
    if not any(one["enabled"] and one["weight"] for one in components):
        notes.append("no component was enabled: all are, and the bot is stopped")
        components = [{**one, "enabled": True, "weight": WEIGHTS[str(one["kind"])]} for one in components]
    settings = _figures(row, notes) | {name: str(truth(row, name)).lower() for name in SWITCHES if name in row}
    thresholds = config.get("trading_thresholds")
    configured = thresholds if isinstance(thresholds, dict) else {}
    for name, default in THRESHOLDS.items():
        value = decimal_in(configured.get(name))
        settings[name] = format(-(Decimal(default) if value is None else value), "f")
    return canonical_json({"components": components}), settings, notes


def _component(kind: str, given: Mapping[str, object], notes: list[str]) -> dict[str, object]:
    weight = decimal_in(given.get("weight"))
    if weight is not None and not 0 <= weight <= 1:
        notes.append(f"{kind}: weight {weight} is not between 0 and 1: {WEIGHTS[kind]} is used")
        weight = None
    return {
        "enabled": given.get("enabled", True) not in (False, 0, "false", "0"),
        "kind": kind,
        "params": _params(kind, given, notes),
        "weight": WEIGHTS[kind] if weight is None else float(weight),
    }


def _params(kind: str, given: Mapping[str, object], notes: list[str]) -> dict[str, object]:
    def whole(names: tuple[str, ...], default: int, low: int, high: int) -> int:
        value = next((found for name in names if (found := decimal_in(given.get(name))) is not None), None)
        if value is None:
            return default
        if value != int(value) or not low <= value <= high:
            notes.append(f"{kind}: {names[0]} {value} is not a whole number from {low} to {high}: {default} is used")
            return default
        return int(value)

    def level(names: tuple[str, ...], default: float, low: int, high: int) -> float:
        value = next((found for name in names if (found := decimal_in(given.get(name))) is not None), None)
        if value is None:
            return default
        if not low < value < high:
            notes.append(f"{kind}: {names[0]} {value} is not between {low} and {high}: {default} is used")
            return default
        return float(value)

    if kind == "rsi":
        return {
            "length": whole(("period", "length"), 14, 2, 100),
            "oversold": level(("buy_threshold", "oversold"), 30.0, 0, 50),
            "overbought": level(("sell_threshold", "overbought"), 70.0, 50, 100),
            "smoothing": "simple",
        }
    fast_default, slow_default = (12, 26) if kind == "macd" else (10, 20)
    fast = whole(("fast", "fast_period"), fast_default, 2, 200)
    slow = whole(("slow", "slow_period"), slow_default, 2, 200)
    if fast >= slow:
        notes.append(f"{kind}: fast {fast} is not below slow {slow}: {fast_default} and {slow_default} are used")
        fast, slow = fast_default, slow_default
    if kind == "ma_cross":
        return {"average": "simple", "fast": fast, "slow": slow}
    signal = whole(("signal", "signal_period"), 9, 2, 200)
    return {"fast": fast, "range_length": 14, "sensitivity": 20.0, "signal": signal, "slow": slow}


def _figures(row: Row, notes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in FIGURES:
        if not word(row, name):
            continue
        try:
            value = number(row, name)
        except Unreadable as error:
            notes.append(str(error))
            continue
        if value == 0 and name in ZERO_MEANT:
            notes.append(f"{name}: 0 was used as {ZERO_MEANT[name]} by the legacy system")
            found[name] = ZERO_MEANT[name]
        elif value is not None:
            found[name] = format(value, "f")
    return found
