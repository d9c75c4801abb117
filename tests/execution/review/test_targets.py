"""Targets and biases: every verdict is reachable, and each names the rule, its numbers and the target."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from execution.review import targets as decision
from execution.review.review import Approval, Question, Rejection
from execution.review.state import Size
from execution.review.targets import CHECKS, WEIGHERS, Check, overall, verdict_of
from ledger.events import OrderRequested, SignalApproved, SignalRejected, TargetRemoved
from ledger.values import Side, decimal_text
from tests.support.risky_trades import HOUR, MIDNIGHT, closed, judged, proposed, room_with, traded, wanted
from tests.support.trading import BTC, NOON, Room, Script, ScriptedExchange

DAY = timedelta(days=1)
TARGETS: Final = ("value", "income", "allocation", "reserve")


def verdict_on(room: Room, score: str = "0.5") -> Approval | Rejection:
    """Review's verdict on a fresh signal of this score."""
    room.signal(score)
    verdict = judged(room)
    assert isinstance(verdict, Approval | Rejection)
    return verdict


def said_by(verdict: Approval | Rejection, rule: str) -> dict[str, str]:
    (answer,) = [one for one in verdict.rules if one.rule == rule]
    return dict(answer.numbers) | {"reason": answer.reason}


# --- targets ----------------------------------------------------------------------------------------------------------


def _holds(room: Room, quantity: str, target: str) -> None:
    """Hold this much BTC, bought at 100 with extra cash, with a target for its share."""
    room.hold(quantity)
    room.mark()
    wanted(room, "allocation", target, "BTC")


def _gained(room: Room, target: str, period: str = "day") -> None:
    closed(room, "ww", NOON - HOUR)
    wanted(room, "income", target, None, period)


def _nothing_left(room: Room) -> None:
    room.limit("income_reached_pct", "10")
    _gained(room, "2")


CASES: dict[str, tuple[Callable[[Room], object], str, str, str]] = {
    "no target": (lambda room: None, "0.5", "approve", "90"),
    "value ahead": (lambda room: wanted(room, "value", "10000.01"), "0.5", "approve", "90"),
    "value reached": (lambda room: wanted(room, "value", "10000"), "0.5", "hold", ""),
    "reserve far": (lambda room: wanted(room, "reserve", "9909.46"), "0.5", "approve", "90"),
    "reserve near": (lambda room: wanted(room, "reserve", "9949.7"), "0.5", "reduce", "50"),
    "reserve reached": (lambda room: wanted(room, "reserve", "9995"), "0.5", "hold", ""),
    "allocation far": (lambda room: wanted(room, "allocation", "1", "BTC"), "0.5", "approve", "90"),
    "allocation near": (lambda room: _holds(room, "5.7", "1"), "0.5", "reduce", "64.2"),
    "allocation reached": (lambda room: _holds(room, "7", "1"), "0.5", "reject", ""),
    "allocation of another": (lambda room: wanted(room, "allocation", "0", "ETH"), "0.5", "approve", "90"),
    "sale towards it": (lambda room: _holds(room, "10", "1"), "-0.5", "approve", "90"),
    "sale near the edge": (lambda room: _holds(room, "4", "8.3"), "-0.5", "reduce", "56.8"),
    "sale away from it": (lambda room: _holds(room, "4", "50"), "-0.5", "reject", ""),
    "income ahead": (lambda room: _gained(room, "3"), "0.5", "approve", "90"),
    "income reached": (lambda room: _gained(room, "2"), "0.5", "reduce", "45"),
    "income of a week": (lambda room: _gained(room, "2", "week"), "0.5", "reduce", "45"),
    "income of a month": (lambda room: _gained(room, "2", "month"), "0.5", "reduce", "45"),
    "income nothing left": (_nothing_left, "0.5", "hold", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_target_decides_its_own_concern(case: str) -> None:
    """Each target approves, reduces, holds or rejects orders that move the portfolio away from it."""
    story, score, expected, value = CASES[case]
    about = case.split(maxsplit=1)[0].replace("sale", "allocation")
    room = room_with()
    story(room)

    verdict = verdict_on(room, score)

    assert verdict.verdict == expected
    if isinstance(verdict, Approval):
        assert decimal_text(verdict.size.value) == value
    else:
        assert [rule.rule for rule in verdict.rules if not rule.passed] == [f"{about}_target"]
    speaking = [one for one in verdict.rules if verdict_of(one) == expected and "target" in one.numbers]
    assert speaking or case in ("no target", "allocation of another")


def test_removed_target_has_no_effect() -> None:
    """No rule mentions it."""
    room = room_with()
    wanted(room, "value", "1")
    room.tell(TargetRemoved(kind="value"))

    assert verdict_on(room).verdict == "approve"


def test_smallest_of_several_reductions_counts() -> None:
    """Both reductions are reported."""
    room = room_with()
    _gained(room, "2")
    wanted(room, "reserve", "9981.88")

    verdict = verdict_on(room)

    assert isinstance(verdict, Approval)
    assert decimal_text(verdict.size.value) == "20"
    assert said_by(verdict, "income_target")["room"] == "45"
    assert said_by(verdict, "reserve_target")["room"] == "20"


def test_stored_events_show_the_verdict() -> None:
    """A reduction is an approval of the smaller size; a hold is a rejection with `not_yet`."""
    stored: dict[str, Any] = {}
    for name in ("reserve near", "value reached", "allocation reached"):
        room = room_with()
        CASES[name][0](room)
        room.signal()
        room.service(ScriptedExchange((Script(states=("open",), told=((),)),))).step()
        (stored[name],) = room.of(SignalApproved) + room.of(SignalRejected)
        assert len(room.of(OrderRequested)) == (name == "reserve near")

    near, reached, gone = stored.values()
    assert (type(near), decimal_text(near.quote_size)) == (SignalApproved, "50")
    assert [rule.rule for rule in near.rules if rule.numbers.get("verdict") == "reduce"] == ["reserve_target"]
    assert (reached.not_yet, gone.not_yet) == (True, False)


# --- every verdict ----------------------------------------------------------------------------------------------------

rooms = st.fixed_dictionaries(
    {
        "score": st.decimals("-1", "1", places=2).filter(lambda score: abs(score) >= Decimal("0.15")),
        "confidence": st.decimals("0", "1", places=2),
        "held": st.integers(0, 50),
        "history": st.text("wl", max_size=9),
        "room": st.dictionaries(st.sampled_from(TARGETS), st.integers(-20, 150), max_size=2),
    }
)
"""Situations in which targets leave this much room, in base currency, for the signal's order."""


def verdict_in(world: dict[str, Any]) -> tuple[str, Approval | Rejection]:
    """The verdict on a signal in such a room."""
    room = room_with()
    if world["held"]:
        room.hold(str(world["held"]))
    room.mark()
    closed(room, world["history"])
    gained = world["history"].count("w") - world["history"].count("l")
    held, cash = world["held"] * 100, 10_000 + gained
    for kind, left in world["room"].items():
        match kind:
            case "value":
                wanted(room, kind, str(held + cash + left))
            case "income":
                wanted(room, kind, str(max(gained + left, 0)), None, "day")
            case "reserve":
                wanted(room, kind, str(cash - left))
            case _:
                sign = 1 if world["score"] > 0 else -1
                edge = Decimal(held + sign * left) * 100 / (held + cash) - sign * 5
                wanted(room, kind, str(round(min(max(edge, Decimal(0)), Decimal(100)), 6)), "BTC")
    room.signal(str(world["score"]), confidence=str(world["confidence"]))
    verdict = judged(room)
    assert isinstance(verdict, Approval | Rejection)
    return verdict.verdict, verdict


@pytest.mark.parametrize("wanted_verdict", ["approve", "reduce", "hold", "reject"])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_every_verdict_is_reached(wanted_verdict: str, side: Side) -> None:
    """Rooms with any cash, positions, history and targets include all verdicts, for buys and sales."""

    def reached(world: dict[str, Any]) -> bool:
        return (world["score"] > 0) is (side is Side.BUY) and verdict_in(world)[0] == wanted_verdict

    quick = settings(max_examples=2000, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    assert find(rooms, reached, settings=quick)


@given(rooms)
@settings(max_examples=60, deadline=None)
def test_verdict_is_consistent_with_its_rules(world: dict[str, Any]) -> None:
    """No approval has a failed rule; a reduction names both sizes."""
    name, verdict = verdict_in(world)
    failed = [rule for rule in verdict.rules if not rule.passed]

    assert bool(failed) is isinstance(verdict, Rejection)
    assert all(rule.reason and (rule.numbers or rule.rule in ("trading_open",)) for rule in verdict.rules)
    if not isinstance(verdict, Approval):
        return
    assert verdict.side is (Side.BUY if world["score"] > 0 else Side.SELL)
    assert Decimal(10) <= verdict.size.value <= Decimal(100)
    if verdict.size.base_size is not None:
        assert verdict.size.value == verdict.size.base_size * 100
    reductions = [rule.numbers for rule in verdict.rules if verdict_of(rule) == "reduce"]
    assert (name == "reduce") is bool(reductions)
    if reductions:
        assert verdict.size.value <= min(Decimal(one["room"]) for one in reductions)
        assert all(Decimal(one["room"]) < Decimal(one["wanted"]) for one in reductions)


def test_engine_that_cannot_reduce_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: rounding to thousands leaves no reduced size; such orders are held."""
    monkeypatch.setattr(decision, "CENT", Decimal(1000))
    room = room_with()
    CASES["reserve near"][0](room)

    assert verdict_on(room).verdict != "reduce"


# --- habits -----------------------------------------------------------------------------------------------------------


def _entries_at_the_average(room: Room) -> None:
    for number in range(5):
        traded(room, Side.BUY, "0.1", "100", NOON - DAY + number * HOUR)


def _slow_losers(room: Room) -> None:
    for number in range(5):
        at = NOON - 3 * DAY + number * HOUR * 8
        traded(room, Side.BUY, "1", "100", at)
        traded(room, Side.SELL, "1", "101", at + HOUR)
        traded(room, Side.BUY, "1", "100", at + 2 * HOUR)
        traded(room, Side.SELL, "1", "99", at + 6 * HOUR)


def _three_bots(room: Room, last: str = "0.5") -> None:
    for bot, score in (("two", "0.5"), ("three", "0.5"), ("four", last)):
        room.signal(score, bot=bot, asof=NOON - timedelta(minutes=1))


def _busy(room: Room, today: str) -> None:
    closed(room, "w", NOON - DAY)
    closed(room, today)


HABITS: list[tuple[Check, Callable[[Room], object], dict[str, Any], str]] = [
    (decision.loss_aversion, lambda room: closed(room, "l" * 2), {}, "none"),
    (decision.loss_aversion, lambda room: _lost(room, "200"), {}, "none"),
    (decision.loss_aversion, lambda room: _lost(room, "250"), {}, "reduce"),
    (decision.loss_aversion, lambda room: _lost(room, "600"), {}, "block"),
    (decision.overconfidence, lambda room: closed(room, "wwww"), {}, "none"),
    (decision.overconfidence, lambda room: closed(room, "lwwwww"), {}, "reduce"),
    (decision.overconfidence, lambda room: closed(room, "w" * 8), {}, "block"),
    (decision.overconfidence, lambda room: closed(room, "w" * 8, NOON - DAY), {}, "none"),
    (decision.concentration, lambda room: None, {"size": Size(Decimal(2000), None)}, "none"),
    (decision.concentration, lambda room: None, {"size": Size(Decimal(2001), None)}, "caution"),
    (decision.revenge, lambda room: closed(room, "l", NOON - HOUR / 6, "40"), {}, "reduce"),
    (decision.revenge, lambda room: closed(room, "l", NOON - HOUR / 6, "90"), {}, "none"),
    (decision.revenge, lambda room: closed(room, "l", NOON - HOUR, "40"), {}, "none"),
    (decision.disposition, _slow_losers, {}, "caution"),
    (decision.disposition, lambda room: closed(room, "wwwwwlllll"), {}, "none"),
    (decision.overtrading, lambda room: _busy(room, "eeeee"), {}, "caution"),
    (decision.overtrading, lambda room: _busy(room, "eeee"), {}, "none"),
    (decision.overtrading, lambda room: closed(room, "eeeee"), {}, "none"),
    (decision.herd, _three_bots, {}, "caution"),
    (decision.herd, lambda room: _three_bots(room, "-0.5"), {}, "none"),
    (decision.anchoring, _entries_at_the_average, {}, "caution"),
    (decision.anchoring, _entries_at_the_average, {"price": Decimal(102)}, "none"),
]


def _lost(room: Room, loss: str) -> None:
    traded(room, Side.BUY, "1", "700", NOON - 2 * HOUR)
    traded(room, Side.SELL, "1", str(Decimal(700) - Decimal(loss)), NOON - HOUR)


@pytest.mark.parametrize(("check", "story", "changed", "level"), HABITS)
def test_bias_is_found_from_its_bound_on(
    check: Check, story: Callable[[Room], object], changed: dict[str, Any], level: str
) -> None:
    """With the events that show it, and not below the bound."""
    room = room_with()
    story(room)

    found = proposed(room, check, **changed)

    assert (found.check, found.level) == (check.__name__, level)
    known = {envelope.event_id for envelope in room.envelopes()}
    assert set(found.evidence) <= known
    assert bool(found.evidence) is (level != "none" and check.__name__ not in ("concentration", "overtrading", "herd"))


def test_every_check_is_reached() -> None:
    """For each check there is a room in which it warns."""
    warned = {check for check, _, _, level in HABITS if level != "none"}

    assert warned == set(CHECKS)


LEVELS: list[tuple[tuple[decision.Level, ...], str]] = [
    ((), "none"),
    (("none", "none"), "none"),
    (("caution", "caution", "caution"), "caution"),
    (("caution", "reduce"), "reduce"),
    (("reduce", "reduce"), "block"),
    (("block", "none"), "block"),
]


@pytest.mark.parametrize(("levels", "expected"), LEVELS)
def test_biases_add_up(levels: tuple[decision.Level, ...], expected: str) -> None:
    """One block or two reasons to reduce block, one reason reduces, cautions caution."""
    assert overall(decision.Finding("check", level, "said") for level in levels) == expected


def test_five_wins_halve_the_next_buy_and_eight_hold_it() -> None:
    """Every check is listed, and a sale is never held back."""
    room = room_with()
    closed(room, "wwwww")
    verdict = verdict_on(room)
    assert (verdict.verdict, said_by(verdict, "trader_bias")["room"]) == ("reduce", "45")
    assert {check.__name__ for check in CHECKS} <= set(said_by(verdict, "trader_bias"))

    room = room_with()
    room.hold("5")
    closed(room, "wwwwwwww")
    verdict = verdict_on(room)
    assert verdict.verdict == "hold"
    assert "8 winning trades in a row today" in said_by(verdict, "trader_bias")["reason"]
    room.clock.move(minutes=1)
    assert verdict_on(room, "-0.5").verdict == "approve"


def test_each_warning_lowers_confidence() -> None:
    """A signal at the minimum confidence is held after one warning."""
    room = room_with()
    room.signal(confidence="0.2")
    first = judged(room)
    assert not isinstance(first, Question)
    assert first.rules[2].passed
    _three_bots(room)
    room.clock.move(seconds=1)
    room.signal(confidence="0.2")

    verdict = judged(room)
    assert isinstance(verdict, Rejection)
    assert (verdict.verdict, verdict.failed.rule) == ("hold", "trader_bias")
    assert verdict.failed.numbers["confidence"] == "0.18"


def test_every_weigher_answers_with_its_own_name() -> None:
    """An answer has the weigher's name, a reason and a verdict."""
    room = room_with()
    room.signal()
    for weigher in WEIGHERS:
        answer = proposed(room, weigher).answer
        assert (answer.rule, answer.numbers["verdict"]) == (weigher.__name__, "approve")
        assert answer.reason


def test_income_counts_the_current_period_only() -> None:
    """Gains before midnight, Monday or the first of the month do not count."""
    for period, before in (("day", MIDNIGHT), ("week", MIDNIGHT), ("month", MIDNIGHT - 4 * DAY)):
        room = room_with()
        closed(room, "ww", before - HOUR)
        wanted(room, "income", "2", None, period)
        assert verdict_on(room).verdict == "approve", period
        assert BTC.base == "BTC"
