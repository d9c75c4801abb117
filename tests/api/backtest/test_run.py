"""Backtest: the same log as a live run, whatever bars are skipped, and no look-ahead."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.backtest import bots as backtest_bots
from api.backtest.bots import BacktestBot
from api.backtest.market import Market
from api.backtest.run import (
    BacktestSpec,
    BadBacktest,
    BotSpec,
    Simulation,
    buy_and_hold_of,
    market_of,
    result_of,
    run_backtest,
    simulation_of,
)
from api.runtime.first_run import registered
from execution.exchanges.paper.exchange import PaperTerms
from ledger.events import BotRegistered, SignalEmitted, TradeExecuted
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.projections.policy import SignalPolicy
from ledger.values import derived_id
from signals.bot import Bot
from signals.market.candle import Candle, timeframe_text
from signals.market.recorded import recorded_candles
from signals.registry import BUILT_IN
from tests.support.bots.backtest_bots import AT_ONCE, TERMS, Saying, market_of_prices, simulated_market, spec_of
from tests.support.events import SteppingClock
from tests.support.market_files import write_market
from tests.support.programs import WARMUP, Program, open_portfolio, quick_bots, tape, told
from tests.support.trading import BTC

MARKET = simulated_market(160)


def story(simulation: Simulation) -> list[tuple[Any, ...]]:
    """The log without marks and without the events that open the portfolio."""
    log = [one for one in simulation.book.log.read(simulation.plan.portfolio_id) if one.type != "MarkRecorded"]
    return [told(one) for one in log if one.actor not in ("backtest", "test") or one.type == "OrderRequested"]


def head(simulation: Simulation) -> bytes:
    return simulation.book.log.head(simulation.plan.portfolio_id).hash


# --- the same as live -------------------------------------------------------------------------------------------------


def live_and_tested(
    candles: Sequence[Candle], registrations: Sequence[BotRegistered]
) -> tuple[list[tuple[Any, ...]], Simulation]:
    """The log of a live run with these bots on a tape of candles, and that of the backtest on the same candles."""
    book, portfolio_id = MemoryBook(SteppingClock()), derived_id("live")
    open_portfolio(book, portfolio_id, candles, registrations)
    Program(book, portfolio_id, candles).play_out()
    log = (one for one in book.log.read(portfolio_id) if one.type != "MarkRecorded" and one.actor != "test")
    bots = tuple(BotSpec(bot.kind, bot.parameters, bot.bot_id) for bot in registrations)
    begin = candles[WARMUP].opened_at
    spec = BacktestSpec(Path("tape"), bots, Decimal(10_000), PaperTerms(), begin=begin)
    return [told(one) for one in log], simulation_of(spec, Market.of(candles, "tape"))


def test_backtest_has_the_log_of_a_live_run() -> None:
    """The same candles, one by one through the running program: every event but marks is equal, its id included."""
    live, tested = live_and_tested(tape(250), quick_bots())

    types = [one[1] for one in live]
    assert types.count("SignalEmitted") >= 20
    assert types.count("TradeExecuted") >= 5
    assert story(tested) == live


FAR = registered("far", "rsi", BTC, "1m", '{"length": 20}')
"""A bot that reads 740 candles."""


def test_live_bot_with_a_long_window_signals_like_in_a_backtest() -> None:
    """It has its first signal as soon as there are as many candles as it needs."""
    live, tested = live_and_tested(tape(700), [FAR])

    assert live
    assert story(tested) == live


def test_market_loop_with_too_short_history_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a live bot gets 600 candles, and never becomes warm."""
    monkeypatch.setattr("api.runtime.market_loop.MOST_BARS", 600)
    live, tested = live_and_tested(tape(700), [FAR])

    assert live == []
    assert story(tested) != live


@pytest.mark.nightly
def test_long_backtest_has_the_log_of_a_live_run(pytestconfig: pytest.Config) -> None:
    """The same with every built-in bot over the candles of the file in --candles=FILE, or else 20,000 simulated ones."""
    path = pytestconfig.getoption("candles")
    candles = tape(20_000) if path is None else tuple(recorded_candles(path))
    bots = [
        registered(kind, kind, candles[0].instrument, timeframe_text(candles[0].timeframe), "{}") for kind in BUILT_IN
    ]
    live, tested = live_and_tested(candles, bots)

    assert {one[4] for one in live if one[1] == "SignalEmitted"} == {f"bot:{kind}" for kind in BUILT_IN}
    assert story(tested) == live


class SeesNext(BacktestBot):
    """Planted: evaluated one candle too late, with the time of the candle before."""

    def event_at(self, view: BotView, policy: SignalPolicy, bar: int) -> NewEvent | None:
        return super().event_at(view, policy, min(bar + 1, len(self._market.candles) - 1))


def test_backtest_that_sees_the_next_candle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: bots that know one candle more give other signals."""
    monkeypatch.setattr("api.backtest.run.BacktestBot", SeesNext)
    live, tested = live_and_tested(tape(100), quick_bots())

    assert story(tested) != live


# --- what is passed over ----------------------------------------------------------------------------------------------

scores = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.1499996, 0.1499994, 0.1500004, 0.0499995, -0.15, -0.2999995, 0.8, -0.8]),
    st.floats(-1, 1),
)


def both_ways(market: Market, bots: Mapping[str, Bot], **others: Any) -> tuple[Simulation, Simulation]:
    """The same backtest with twins, and without."""
    spec = spec_of(*bots, **others)
    return simulation_of(spec, market, bots), simulation_of(replace(spec, twins=False), market, bots)


some_scores = given(st.lists(scores, min_size=1, max_size=60), st.booleans(), st.sampled_from([(), AT_ONCE]))


@settings(max_examples=8, deadline=None)
@some_scores
def test_skipping_bars_does_not_change_the_log(listed: list[float | None], guarded: bool, limits: Any) -> None:
    """With its twin or without, at scores on and around every threshold: the same log to the last hash."""
    assert_same_with_and_without_twins(listed, guarded, limits)


@pytest.mark.campaign
@settings(max_examples=40, deadline=None)
@some_scores
def test_skipping_bars_never_changes_the_log(listed: list[float | None], guarded: bool, limits: Any) -> None:
    """The same with more examples."""
    assert_same_with_and_without_twins(listed, guarded, limits)


def assert_same_with_and_without_twins(listed: list[float | None], guarded: bool, limits: Any) -> None:
    bots = {"saying": Saying(listed, ("0.99", "1.01") if guarded else None)}
    quick, slow = both_ways(MARKET, bots, limits=limits)

    assert head(quick) == head(slow)
    with quick.book.reading(quick.plan.portfolio_id) as reading:
        assert list(broken_invariants(reading.rows)) == []


def test_skipping_bars_does_not_change_the_log_with_two_bots_and_lost_answers() -> None:
    """The same with orders of unknown outcome, refusals and several bots."""
    bots = {"saying": Saying([0.5, None, 0.2, -0.4, 0.0]), "other": Saying([None] * 7 + [0.8] + [-0.8])}
    bots["other"].kind = "other"  # type: ignore[misc]
    terms = replace(TERMS, lost_reply_rate=Decimal("0.3"), refuse_rate=Decimal("0.2"), seed=5)
    quick, slow = both_ways(MARKET, bots, terms=terms)

    assert head(quick) == head(slow)
    assert "OutcomeUnknown" in {one[1] for one in story(quick)}
    assert "OrderRefused" in {one[1] for one in story(quick)}


def test_twin_trusted_at_thresholds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without the guard around thresholds, a twin that is off by 1e-9 hides a signal."""
    bots = {"saying": Saying([0.15, 0.1499999999, 0.14999949, 0.1499995, 0.0])}
    honest, slow = both_ways(MARKET, bots)
    monkeypatch.setattr(backtest_bots, "GUARD", -1.0)
    trusting = simulation_of(spec_of(*bots), MARKET, bots)

    assert head(honest) == head(slow)
    assert head(trusting) != head(slow)


# --- honesty ----------------------------------------------------------------------------------------------------------


def test_orders_fill_at_a_later_open_with_costs_within_the_volume_share() -> None:
    """Every fill of a bot's order is at the open of a candle at or after the close of its decision, at its costs."""
    done = simulation_of(spec_of("saying"), MARKET, {"saying": Saying([0.8, 0.0, -0.8, 0.0])})
    log = list(done.book.log.read(done.plan.portfolio_id))
    asof = {one.event_id: one.event.asof for one in log if isinstance(one.event, SignalEmitted)}
    opened = {candle.opened_at: candle for candle in MARKET.candles}
    trades = [one for one in log if isinstance(one.event, TradeExecuted)]
    with done.book.reading(done.plan.portfolio_id) as reading:
        orders = {one.order_id: one for one in reading.rows.history(OrderView)}

    assert len(trades) >= 20
    for envelope in trades:
        trade, candle = envelope.event, opened[envelope.occurred_at]
        assert isinstance(trade, TradeExecuted)
        signal_id = orders[trade.order_id].signal_id  # type: ignore[index]
        assert signal_id is not None
        assert envelope.occurred_at >= asof[signal_id]
        sign = 1 if trade.side == "buy" else -1
        assert sign * (trade.price / candle.open - 1) >= TERMS.half_spread * Decimal("0.99")
        assert trade.fees[0].amount >= trade.quantity * trade.price * TERMS.taker_fee
        assert trade.quantity <= candle.volume * TERMS.volume_share


def test_costs_are_mandatory() -> None:
    """A specification without costs is invalid, and fees of 0 need an explicit flag."""
    with pytest.raises(TypeError, match="terms"):
        BacktestSpec(Path("a.csv"), (), Decimal(1))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="mandatory"):
        PaperTerms(taker_fee=Decimal(0), maker_fee=Decimal(0))

    assert PaperTerms(taker_fee=Decimal(0), maker_fee=Decimal(0), free=True).taker_fee == 0


def test_buy_and_hold_buys_at_the_second_open() -> None:
    """All the cash buys at the second open, less costs, and is valued at the last close."""
    free = PaperTerms(Decimal(0), Decimal(0), Decimal(1), Decimal(0), Decimal(0), free=True)
    market = market_of_prices(("100", "101", "99", "100"), ("125", "130", "120", "126"), ("126", "260", "126", "250"))
    held = buy_and_hold_of(simulation_of(spec_of(terms=free), market))

    trades = [one.event for one in held.book.log.read(held.plan.portfolio_id) if isinstance(one.event, TradeExecuted)]
    assert [(trade.price, trade.quantity) for trade in trades] == [(Decimal(125), Decimal("79.99999999"))]
    assert result_of(held).performance.equity == Decimal("79.99999999") * 250 + Decimal("0.00000125")


def test_large_orders_fill_over_several_candles() -> None:
    """Buy and hold never buys more than its share of a candle."""
    held = buy_and_hold_of(simulation_of(spec_of(cash=Decimal(50_000_000)), MARKET))
    volumes = {candle.opened_at: candle.volume for candle in MARKET.candles}
    trades = [one for one in held.book.log.read(held.plan.portfolio_id) if isinstance(one.event, TradeExecuted)]

    assert len(trades) > 3
    assert all(one.event.quantity <= volumes[one.occurred_at] / 10 for one in trades)  # type: ignore[attr-defined]


# --- stops and targets ------------------------------------------------------------------------------------------------

BUY_ONCE = Saying([None, 0.8] + [None] * 100, ("0.90", "1.10"))
QUIET = ("100", "101", "99", "100")
AFTER = ("100", "100", "100", "100")


def exits_on(*bars: tuple[str, str, str, str], volume: str = "1000") -> list[tuple[Decimal, Decimal]]:
    """Price and size of the exit of a purchase for 90 USD, decided at 100, with its stop at 90 and its target at 110."""
    free = PaperTerms(Decimal(0), Decimal(0), Decimal("0.1"), Decimal(0), Decimal(0), free=True)
    market = market_of_prices(QUIET, QUIET, *bars, volume=volume)
    done = simulation_of(spec_of("saying", terms=free), market, {"saying": BUY_ONCE})
    log = [one.event for one in done.book.log.read(done.plan.portfolio_id)]
    sales = [one for one in log if isinstance(one, TradeExecuted) and one.side == "sell"]
    assert all((sale.triggered_by or "").startswith("exit:") for sale in sales)
    return [(sale.price, sale.quantity) for sale in sales]


@pytest.mark.parametrize(
    ("bars", "price"),
    [
        ([QUIET, ("100", "101", "89", "95")], "90"),
        ([QUIET, ("85", "95", "80", "95")], "85"),
        ([QUIET, ("100", "111", "99", "105")], "110"),
        ([QUIET, ("115", "120", "114", "115")], "110"),
        ([QUIET, ("100", "120", "80", "100")], "90"),
        ([("100", "120", "80", "100")], "90"),
        ([QUIET, ("100", "110", "90.01", "100")], None),
    ],
    ids=["stop", "opens beyond the stop", "target", "opens beyond the target", "both", "both at entry", "neither"],
)
def test_stops_and_targets_end_what_was_bought(bars: list[tuple[str, str, str, str]], price: str | None) -> None:
    """A stop is met at its price or a worse open, a target at its price and only when the price went through it.

    Where a candle reached both, it was the stop; that holds from the candle in which it was bought.
    """
    assert exits_on(*bars, AFTER) == ([] if price is None else [(Decimal(price), Decimal("0.9"))])


def test_exit_larger_than_the_volume_share_continues_at_the_next_open() -> None:
    """A stop takes the share of the candle that touched it; the rest sells at the open of the next."""
    assert exits_on(
        QUIET, QUIET, ("95", "96", "80", "85"), ("70", "71", "69", "70"), ("60", "61", "59", "60"), volume="5"
    ) == [
        (Decimal(90), Decimal("0.5")),
        (Decimal(70), Decimal("0.4")),
    ]


def test_without_exits_stops_are_ignored() -> None:
    """A backtest without exits keeps its positions."""
    market = market_of_prices(QUIET, QUIET, QUIET, ("100", "120", "80", "100"), AFTER)
    done = simulation_of(spec_of("saying", exits=False), market, {"saying": BUY_ONCE})

    assert result_of(done).trades == 1


# --- one value in, one value out --------------------------------------------------------------------------------------


def recorded(folder: Path, **others: Any) -> BacktestSpec:
    """A backtest of two built-in bots on a file."""
    return spec_of("ma_cross", "macd", **{"candles": write_market(folder, 150), **others})


def test_specification_gives_the_same_hashes_in_any_process(tmp_path: Path) -> None:
    """A specification and its result are sent to another process and back, with the same result."""
    spec = recorded(tmp_path)
    here = run_backtest(spec)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(run_backtest, spec).result()

    assert there == here
    assert (here.signals > 10, here.failures) == (True, ())
    assert here.label.startswith("SIMULATED")


def test_run_id_depends_on_every_input(tmp_path: Path) -> None:
    """Candles, bots, settings, limits, costs, cash, time and exits each change the run id; twins do not."""
    spec, market = recorded(tmp_path), market_of(recorded(tmp_path))
    others = [
        replace(spec, bots=spec.bots[:1]),
        replace(spec, bots=(BotSpec("ma_cross", '{"fast": 5}'), spec.bots[1])),
        replace(spec, limits=()),
        replace(spec, terms=replace(TERMS, seed=1)),
        replace(spec, cash=Decimal(9_999)),
        replace(spec, end=market.candles[120].closed_at),
        replace(spec, begin=market.candles[100].opened_at),
        replace(spec, exits=False),
    ]
    ids = [simulation_of(one, market).run_id for one in (spec, *others)]
    ids.append(simulation_of(spec, Market.of(market.candles[:-1], market.name)).run_id)

    assert len(set(ids)) == len(ids)
    assert simulation_of(replace(spec, twins=False), market).run_id == ids[0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"limits": (("warmth", Decimal(1)),)}, "no limit 'warmth'"),
        ({"cash": Decimal(0)}, "0 of cash"),
        ({"bots": (BotSpec("oracle"),)}, "no bot of kind 'oracle'"),
        ({"bots": (BotSpec("rsi", '{"length": 0}'),)}, "parameters of rsi are wrong"),
        ({"bots": (BotSpec("rsi", bot_id="one"), BotSpec("macd", bot_id="one"))}, "two bots are called one"),
        ({"begin": MARKET.candles[-1].closed_at}, "no candle lies between"),
    ],
)
def test_invalid_specification_is_refused_in_one_sentence(wrong: dict[str, Any], why: str) -> None:
    """Each sentence gives the fault, before anything has run."""
    with pytest.raises(BadBacktest, match=why):
        simulation_of(replace(spec_of("rsi"), **wrong), MARKET)
