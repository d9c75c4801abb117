"""docs/review.md lists every rule of the program with its limits and an example of its reason."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from execution.exchanges.ccxt.venues import facts_of
from execution.review import FIRST, FOR_EVERY_ORDER, FOR_SIGNALS, NOT_YET
from execution.review import order_rules as orders
from execution.review import signal_rules as signals
from execution.review import targets as decision
from execution.review.state import Size
from execution.review.targets import CHECKS, WEIGHERS, Advice, Finding
from ledger.events import BotModeSet
from ledger.events.fields import RuleChecked
from ledger.projections.policy import LIMITS
from ledger.values import Instrument, Side, decimal_text
from tests.support.documents.generated import check_generated
from tests.support.risky_trades import HOUR, closed, proposed, room_with, traded, wanted
from tests.support.trading import NOON, RULES, Room, Script, ScriptedExchange, market

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "review.md"
MINUTE: Final = timedelta(minutes=1)
LUNO: Final = facts_of("luno").supported
SALE: Final = market(Side.SELL)
Example = tuple[tuple[str, ...], Callable[[Room], object], dict[str, Any]]


def _ordered(room: Room, state: str = "open") -> None:
    room.mark()
    script = Script(states=("open",), told=((),)) if state == "open" else Script(submit="lost", states=("unknown",))
    room.request(room.service(ScriptedExchange((script,))), market())


def _followed(room: Room) -> None:
    venue = ScriptedExchange((Script(states=("filled",), told=((0,),)),))
    room.signal(asof=NOON - 10 * MINUTE)
    room.service(venue).step()
    room.limit("cooldown_minutes", "15")


def _spoken(room: Room) -> None:
    room.limit("confirmation_minutes", "5")
    room.signal(asof=NOON - MINUTE)


def _fell_below_the_stop(room: Room) -> None:
    room.signal(asof=NOON + timedelta(seconds=1), stop="95")
    room.clock.move(seconds=1)
    room.mark("93")


def _sold_at_once(room: Room) -> None:
    for number in range(5):
        at = NOON - timedelta(days=3) + number * 8 * HOUR
        for gain, held in ((1, HOUR), (-1, 4 * HOUR)):
            traded(room, Side.BUY, "1", "100", at)
            traded(room, Side.SELL, "1", str(100 + gain), at + held)


def _three_bots(room: Room) -> None:
    for bot in ("two", "three", "four"):
        room.signal(bot=bot, asof=NOON - MINUTE)


def _same_price(room: Room) -> None:
    for number in range(5):
        traded(room, Side.BUY, "0.1", "100", NOON - timedelta(days=1) + number * HOUR)


def _busy(room: Room) -> None:
    closed(room, "w", NOON - timedelta(days=1))
    closed(room, "eeeee")


def _lost(room: Room) -> None:
    traded(room, Side.BUY, "1", "700", NOON - HOUR)
    traded(room, Side.SELL, "1", "450", NOON - HOUR)


def _held(room: Room) -> None:
    room.hold("1", "300")
    room.clock.move(hours=-13)
    room.mark("300")
    room.clock.move(hours=13)
    room.mark("180")


def _nothing(_room: Room) -> None:
    pass


EXAMPLES: Final[dict[Callable[..., Any], Example]] = {
    FIRST: (("signal_maximum_age_minutes", "approval_minutes"), lambda room: room.clock.move(minutes=11), {}),
    signals.newest_signal: ((), _nothing, {}),
    signals.enough_confidence: (("minimum_confidence",), lambda room: room.signal(confidence="0.1"), {}),
    signals.warm_enough: (("warm_score",), lambda room: room.signal("0.12"), {}),
    signals.says_act: (("action_score",), lambda room: room.signal("0.12"), {}),
    signals.confirmed: (("confirmation_minutes",), _spoken, {}),
    signals.cooled_down: (("cooldown_minutes",), _followed, {}),
    signals.no_open_order: ((), _nothing, {}),
    signals.between_exits: ((), _fell_below_the_stop, {}),
    signals.minimum_trade: (("minimum_trade",), _nothing, {"size": Size(Decimal("9.5"), None)}),
    signals.maximum_trade: (("maximum_trade",), _nothing, {"size": Size(Decimal(120), None)}),
    signals.daily_loss: (("daily_loss",), _held, {}),
    signals.drawdown: (("maximum_drawdown_pct",), _held, {}),
    signals.loss_streak: (("losses_in_a_row",), lambda room: closed(room, "lll"), {}),
    signals.trades_today: (("trades_per_day",), lambda room: closed(room, "ww"), {}),
    signals.bot_trades_today: (("bot_trades_per_day",), lambda room: closed(room, "ww"), {}),
    signals.person_agrees: ((), lambda room: room.tell(BotModeSet(bot_id="one", mode="ask")), {}),
    orders.trading_open: ((), lambda room: room.halt("the weekend"), {}),
    orders.account_known: ((), _nothing, {"account": None}),
    orders.product_known: ((), _nothing, {"instrument": Instrument("BTC-EUR")}),
    orders.terms_taken: (
        (),
        _nothing,
        {"venue_rules": replace(RULES, supported=LUNO), "terms": SALE, "side": Side.SELL},
    ),
    orders.price_known: ((), _nothing, {"price": None}),
    orders.no_unknown_order: ((), lambda room: _ordered(room, "unknown"), {}),
    orders.in_steps: ((), _nothing, {"limit_price": Decimal("100.001")}),
    orders.venue_minimum: ((), _nothing, {"venue_rules": replace(RULES, minimum_value=Decimal(60))}),
    orders.enough_available: ((), _nothing, {"size": Size(Decimal(9950), None)}),
    orders.price_band: (("price_band_pct",), lambda room: room.mark("80"), {}),
    orders.position_share: (("maximum_position_pct",), lambda room: room.hold("20"), {}),
    orders.exposure: (("maximum_exposure_pct",), lambda room: room.hold("20"), {}),
    orders.open_orders: (("maximum_open_orders",), _ordered, {}),
    decision.value_target: ((), lambda room: wanted(room, "value", "9000"), {}),
    decision.income_target: (
        ("income_reached_pct",),
        lambda room: (closed(room, "www"), wanted(room, "income", "2", None, "day")),  # type: ignore[func-returns-value]
        {},
    ),
    decision.allocation_target: (
        ("allocation_band_pct",),
        lambda room: (room.hold("20"), wanted(room, "allocation", "10", "BTC")),  # type: ignore[func-returns-value]
        {},
    ),
    decision.reserve_target: ((), lambda room: wanted(room, "reserve", "9970"), {}),
    decision.trader_bias: (("minimum_confidence",), lambda room: closed(room, "wwwww"), {}),
    decision.loss_aversion: ((), _lost, {}),
    decision.overconfidence: ((), lambda room: closed(room, "wwwww"), {}),
    decision.concentration: ((), lambda room: room.hold("40"), {}),
    decision.revenge: (("revenge_minutes",), lambda room: closed(room, "l", NOON - 10 * MINUTE, "40"), {}),
    decision.disposition: ((), _sold_at_once, {}),
    decision.overtrading: ((), _busy, {}),
    decision.herd: ((), _three_bots, {}),
    decision.anchoring: ((), _same_price, {}),
}
"""For each rule, target and check: the limits it compares, and a situation in which it gives a reason."""


def row(rule: Callable[..., Any]) -> str:
    """The row of a rule."""
    limits, story, changed = EXAMPLES[rule]
    room = room_with()
    room.signal()
    room.clock.move(seconds=1)
    story(room)
    answer = proposed(room, rule, **changed)
    said = answer.answer if isinstance(answer, Advice) else answer
    assert isinstance(said, RuleChecked | Finding)
    asks = " ".join((rule.__doc__ or "").partition("\n\n")[0].split())
    compared = ", ".join(f"`{name}` {decimal_text(LIMITS[name])}" for name in limits) or "–"
    later = " (not yet)" if rule.__name__ in NOT_YET else ""
    reason = said.reason.replace("|", "\\|")
    return f"| `{rule.__name__}`{later} | {asks} | {compared} | {reason} |"


TABLES: Final = ((FIRST, *FOR_SIGNALS), FOR_EVERY_ORDER, WEIGHERS, CHECKS)
TABLE: Final = re.compile(r"(?<=\|\n)(?:\| `\w+`(?: \(not yet\))? \|.*\n)+")
"""The rows of a table of rules."""


def table(rules: tuple[Callable[..., Any], ...]) -> str:
    return "".join(f"{row(rule)}\n" for rule in rules)


@pytest.mark.generated
def test_review_page_lists_every_rule_with_its_limits_and_an_example() -> None:
    """Each table has the rules in order, with their meaning, their limits and defaults, and an example of a reason."""
    documented = TABLE.findall(PAGE.read_text(encoding="utf-8"))

    assert len(documented) == len(TABLES)
    for rules, rows in zip(TABLES, documented, strict=True):
        check_generated(PAGE, rows, table(rules))


def test_review_page_names_every_limit() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert [name for name in LIMITS if f"`{name}`" not in page] == []
