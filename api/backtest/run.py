"""Backtests: `run_backtest` turns a specification into a result.

Both are values that can be sent to other processes; candles are given by file name. Equal specifications over equal
candles have equal ids and equal results, to the last hash.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from api.backtest.bots import BacktestBot
from api.backtest.market import Market, recorded_market
from api.runtime.first_run import registered
from execution.backtest.simulate import ENGINE, Plan, simulate
from execution.exchanges.paper.exchange import PaperTerms
from ledger.errors import DaybookError
from ledger.events import BotRegistered
from ledger.log.envelope import canonical_json
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.projections.policy import LIMITS
from ledger.reports.performance import Performance, performance_of
from ledger.rows import Rows
from ledger.values import Instrument, decimal_text, derived_id, time_text
from signals.bot import Bot
from signals.registry import NO_BOTS, BadParameters, UnknownBotKind


class BadBacktest(DaybookError, ValueError):
    """A backtest cannot be run as specified."""


class RefusedParameters(BadBacktest):
    """A bot refuses its parameters."""


@dataclass(frozen=True, slots=True)
class BotSpec:
    """A bot: its kind and parameters as a JSON object. Without `bot_id` an id is derived from the kind."""

    kind: str
    parameters: str = "{}"
    bot_id: str = ""


@dataclass(frozen=True, slots=True)
class BacktestSpec:
    """Everything that a backtest depends on; `candles` is a CSV file of one market.

    `terms` are the mandatory costs; `cash` is in the quote currency; `limits` override the default policy. Trading starts
    with the first candle that opens at `begin` or later, after a warm-up on those before it, and ends with the last that
    closes at `end` or before. Instrument and timeframe default to those in the file's name. Without `twins` every bot is
    evaluated at every bar: slower, with the same log.
    """

    candles: Path
    bots: tuple[BotSpec, ...]
    cash: Decimal
    terms: PaperTerms
    limits: tuple[tuple[str, Decimal], ...] = ()
    begin: datetime | None = None
    end: datetime | None = None
    exits: bool = True
    instrument: Instrument | None = None
    timeframe: timedelta | None = None
    twins: bool = True


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """Simulated result; `buy_and_hold` bought at the first bar, at the same costs. Hashes are hex.

    `run_id` identifies engine, candles, bots, policy and costs. `log_hash` is the head of the run's hash chain: equal
    hashes mean equal logs. `bars` counts traded bars, the other counts events of the log; `failures` lists failed bots.
    """

    run_id: str
    data_hash: str
    log_hash: str
    label: str
    assumptions: tuple[str, ...]
    instrument: str
    timeframe: str
    began_at: datetime
    ended_at: datetime
    bars: int
    events: int
    signals: int
    orders: int
    trades: int
    failures: tuple[str, ...]
    performance: Performance
    buy_and_hold: Performance


def run_backtest(spec: BacktestSpec) -> BacktestResult:
    """Run the backtest. Raises BadBacktest, and BadFeed and BadCandle for an unusable file."""
    return result_of(simulation_of(spec, market_of(spec)))


def market_of(spec: BacktestSpec) -> Market:
    """Return the specification's market. Raises BadFeed and BadCandle."""
    return recorded_market(spec.candles, spec.instrument, spec.timeframe)


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A completed backtest; its book holds the log of `plan.portfolio_id`."""

    spec: BacktestSpec
    market: Market
    plan: Plan
    run_id: str
    book: MemoryBook

    @property
    def rows(self) -> Rows:
        with self.book.reading(self.plan.portfolio_id) as reading:
            return reading.rows

    @property
    def ended_at(self) -> datetime:
        return self.market.candles[self.plan.end - 1].closed_at


def simulation_of(spec: BacktestSpec, market: Market, extra: Mapping[str, Bot] = NO_BOTS) -> Simulation:
    """Simulate the specification on this market, with `extra` bots beside the built-in ones. Raises BadBacktest."""
    bots = _registrations(spec, market, extra)
    run_id = _run_id(spec, market, bots)
    plan = _plan(spec, market, derived_id("backtest", run_id), f"simulated: backtest {run_id[:12]}")
    adapted = [BacktestBot(bot, market, extra, twins=spec.twins) for bot in bots]
    return Simulation(spec, market, plan, run_id, simulate(market.series, adapted, plan))


def buy_and_hold_of(simulation: Simulation) -> Simulation:
    """Simulate buying with all cash at the close of the first bar, at the same costs, and holding."""
    spec, market, plan = simulation.spec, simulation.market, simulation.plan
    kept, book = _buy_and_hold(market, spec.cash, spec.terms, plan.first, plan.end)
    return replace(simulation, spec=replace(spec, bots=()), plan=kept, book=book)


def run_id_of(spec: BacktestSpec, market: Market, extra: Mapping[str, Bot] = NO_BOTS) -> str:
    """Return the run id of this specification without running it. Raises BadBacktest."""
    bots = _registrations(spec, market, extra)
    _plan(spec, market, UUID(int=0), "")
    return _run_id(spec, market, bots)


def result_of(simulation: Simulation) -> BacktestResult:
    """Return the result of the simulation."""
    spec, market, plan = simulation.spec, simulation.market, simulation.plan
    log = list(simulation.book.log.read(plan.portfolio_id))
    types = Counter(envelope.type for envelope in log)
    broken = (bot for bot in simulation.rows.history(BotView) if bot.status == "failed")
    return BacktestResult(
        run_id=simulation.run_id,
        data_hash=market.data_hash,
        log_hash=log[-1].hash.hex(),
        label=f"SIMULATED: a backtest on the candles of {market.name}",
        assumptions=assumptions_of(spec),
        instrument=market.instrument,
        timeframe=market.timeframe,
        began_at=market.candles[plan.first].opened_at,
        ended_at=simulation.ended_at,
        bars=plan.end - plan.first,
        events=len(log),
        signals=types["SignalEmitted"],
        orders=types["OrderRequested"],
        trades=types["TradeExecuted"],
        failures=tuple(f"{bot.bot_id}: {bot.status_reason}" for bot in broken),
        performance=_performance(simulation.book, plan, simulation.ended_at),
        buy_and_hold=_buy_and_hold_performance(market, spec.cash, spec.terms, plan.first, plan.end),
    )


def assumptions_of(spec: BacktestSpec) -> tuple[str, ...]:
    """Return the assumptions of a backtest as sentences."""
    exits = (
        "stop-loss and take-profit apply from the fill of a signal on; if a candle reaches both, the stop comes first"
    )
    changed = ", ".join(f"{name} {decimal_text(value)}" for name, value in sorted(spec.limits))
    return (
        "bots decide at the close of a candle",
        *spec.terms.describe(),
        exits if spec.exits else "stop-loss and take-profit of signals are not watched",
        f"limits other than the default: {changed or 'none'}",
    )


def _registrations(spec: BacktestSpec, market: Market, extra: Mapping[str, Bot]) -> list[BotRegistered]:
    found: dict[str, BotRegistered] = {}
    for bot in spec.bots:
        same = sum(one.kind == bot.kind for one in found.values())
        bot_id = bot.bot_id or f"{bot.kind}-{market.instrument}" + (f"-{same + 1}" if same else "")
        if bot_id in found:
            raise BadBacktest(f"two bots are called {bot_id}: rename one of them")
        try:
            found[bot_id] = registered(bot_id, bot.kind, market.instrument, market.timeframe, bot.parameters, extra)
        except UnknownBotKind as error:
            raise BadBacktest(str(error)) from None
        except BadParameters as error:
            raise RefusedParameters(str(error)) from None
    return list(found.values())


def _plan(spec: BacktestSpec, market: Market, portfolio_id: UUID, name: str) -> Plan:
    """The plan for the specification. Raises BadBacktest."""
    for limit, value in spec.limits:
        if limit not in LIMITS:
            raise BadBacktest(f"there is no limit {limit[:40]!r}: there are {', '.join(sorted(LIMITS))}")
        if value < 0:
            raise BadBacktest(f"the limit {limit} cannot be {value}: it is 0 or more")
    if spec.cash <= 0:
        raise BadBacktest(f"a backtest cannot begin with {spec.cash} of cash: give it more than 0")
    candles = market.candles
    first = bisect_left(candles, spec.begin, key=lambda candle: candle.opened_at) if spec.begin else 0
    end = bisect_right(candles, spec.end, key=lambda candle: candle.closed_at) if spec.end else len(candles)
    if first >= end:
        spoken = f"{time_text(candles[0].opened_at)} to {time_text(candles[-1].closed_at)}"
        raise BadBacktest(f"no candle lies between begin and end: {market.name} holds {spoken}")
    return Plan(portfolio_id, name, spec.cash, spec.terms, spec.limits, first, end, spec.exits)


def _run_id(spec: BacktestSpec, market: Market, bots: list[BotRegistered]) -> str:
    """sha256 in hex of everything that the result depends on."""
    limits = LIMITS | dict(spec.limits)
    inputs = {
        "engine": ENGINE,
        "data": market.data_hash,
        "begin": time_text(spec.begin) if spec.begin else None,
        "end": time_text(spec.end) if spec.end else None,
        "bots": [bot.model_dump(mode="json") for bot in bots],
        "limits": {name: decimal_text(value) for name, value in limits.items()},
        "cash": decimal_text(spec.cash),
        "terms": {name: _plain(value) for name, value in asdict(spec.terms).items()},
        "exits": spec.exits,
    }
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()


def _plain(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def _performance(book: MemoryBook, plan: Plan, until: datetime) -> Performance:
    with book.reading(plan.portfolio_id) as reading:
        return performance_of(reading.rows, book.log.read(plan.portfolio_id), until=until)


@lru_cache(maxsize=16)
def _buy_and_hold_performance(market: Market, cash: Decimal, terms: PaperTerms, first: int, end: int) -> Performance:
    plan, book = _buy_and_hold(market, cash, terms, first, end)
    return _performance(book, plan, market.candles[end - 1].closed_at)


@lru_cache(maxsize=16)
def _buy_and_hold(market: Market, cash: Decimal, terms: PaperTerms, first: int, end: int) -> tuple[Plan, MemoryBook]:
    portfolio_id = derived_id("buy-and-hold", market.data_hash, first, end)
    plan = Plan(portfolio_id, "simulated: buy and hold", cash, terms, (), first, end, exits=False, hold=True)
    return plan, simulate(market.series, (), plan)
