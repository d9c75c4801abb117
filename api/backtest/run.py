"""Backtests: a specification in, a result out. Both are values that cross processes; the candles travel as a file's name.

`run_backtest` is the whole of it. Equal specifications over equal candles have equal ids, and results that are equal to
the last hash.
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
    """The backtest cannot be run as specified; the message has the reason and the way out."""


class RefusedParameters(BadBacktest):
    """A bot does not accept the parameters it was given."""


@dataclass(frozen=True, slots=True)
class BotSpec:
    """A bot to be asked: its kind and its own settings as a JSON object. `bot_id` is made from the kind where left out."""

    kind: str
    parameters: str = "{}"
    bot_id: str = ""


@dataclass(frozen=True, slots=True)
class BacktestSpec:
    """Everything that a backtest depends on; `candles` is a CSV file of one market.

    `terms` are the costs, which nobody may leave out; `cash` is in the quote currency. `limits` are the policy where it is
    not the default. Trading begins with the first candle that opens at `begin` or later, those before it are history to
    warm up on, and ends with the last that closes at `end` or before. Instrument and timeframe come from the file's name
    where they are not given. Without `twins` every bot is asked at every bar: slower, and the same log.
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
    """What came of it, all of it simulated; `buy_and_hold` bought at the first bar, at the same costs. Hashes are hex.

    `run_id` stands for engine, candles, bots, policy and costs. `log_hash` is the head of the run's hash chain: equal
    hashes are equal logs. `bars` were traded, the other counts are of the log; `failures` say which bots broke down.
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
    """The result. Raises BadBacktest, and BadFeed and BadCandle for a file that holds no market."""
    return result_of(simulation_of(spec, market_of(spec)))


def market_of(spec: BacktestSpec) -> Market:
    """The market that the specification names. Raises BadFeed and BadCandle."""
    return recorded_market(spec.candles, spec.instrument, spec.timeframe)


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A backtest that has run: its book holds the whole log under `plan.portfolio_id`."""

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
    """The specification carried out on this market; `extra` are bots that were enabled on purpose. Raises BadBacktest."""
    bots = _registrations(spec, market, extra)
    run_id = _run_id(spec, market, bots)
    plan = _plan(spec, market, derived_id("backtest", run_id), f"simulated: backtest {run_id[:12]}")
    voices = [BacktestBot(bot, market, extra, twins=spec.twins) for bot in bots]
    return Simulation(spec, market, plan, run_id, simulate(market.series, voices, plan))


def held_beside(simulation: Simulation) -> Simulation:
    """The same cash in all that it could buy at the close of the first bar, at the same costs, and kept."""
    spec, market, plan = simulation.spec, simulation.market, simulation.plan
    held, book = _held(market, spec.cash, spec.terms, plan.first, plan.end)
    return replace(simulation, spec=replace(spec, bots=()), plan=held, book=book)


def run_id_of(spec: BacktestSpec, market: Market, extra: Mapping[str, Bot] = NO_BOTS) -> str:
    """The id that the run of this specification will have. Raises BadBacktest."""
    bots = _registrations(spec, market, extra)
    _plan(spec, market, UUID(int=0), "")
    return _run_id(spec, market, bots)


def result_of(simulation: Simulation) -> BacktestResult:
    """What the simulation came to."""
    spec, market, plan = simulation.spec, simulation.market, simulation.plan
    log = list(simulation.book.log.read(plan.portfolio_id))
    types = Counter(envelope.type for envelope in log)
    broken = (card for card in simulation.rows.history(BotView) if card.status == "failed")
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
        failures=tuple(f"{card.bot_id}: {card.status_reason}" for card in broken),
        performance=_performance(simulation.book, plan, simulation.ended_at),
        buy_and_hold=_held_performance(market, spec.cash, spec.terms, plan.first, plan.end),
    )


def assumptions_of(spec: BacktestSpec) -> tuple[str, ...]:
    """What was assumed, in sentences to show beside the result."""
    exits = (
        "stop-loss and take-profit of a signal stand from its fill on; where a candle reached both, the stop came first"
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
            raise BadBacktest(f"two bots are called {bot_id}: give one of them another name")
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
    """sha256 in hex of everything that the result follows from."""
    limits = LIMITS | dict(spec.limits)
    said = {
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
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def _plain(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def _performance(book: MemoryBook, plan: Plan, until: datetime) -> Performance:
    with book.reading(plan.portfolio_id) as reading:
        return performance_of(reading.rows, book.log.read(plan.portfolio_id), until=until)


@lru_cache(maxsize=16)
def _held_performance(market: Market, cash: Decimal, terms: PaperTerms, first: int, end: int) -> Performance:
    plan, book = _held(market, cash, terms, first, end)
    return _performance(book, plan, market.candles[end - 1].closed_at)


@lru_cache(maxsize=16)
def _held(market: Market, cash: Decimal, terms: PaperTerms, first: int, end: int) -> tuple[Plan, MemoryBook]:
    portfolio_id = derived_id("buy-and-hold", market.data_hash, first, end)
    plan = Plan(portfolio_id, "simulated: buy and hold", cash, terms, (), first, end, exits=False, hold=True)
    return plan, simulate(market.series, (), plan)
