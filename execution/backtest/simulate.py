"""The backtest: candles and bots through review, trade service, paper venue and a book in memory.

The pipeline is that of live trading on a faster clock: a signal at the close of a candle is judged at that close and filled at
the next open or later. Candles at which nothing can happen are skipped; they add nothing to the log, so every hash is the
same as if they were not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Final, Protocol
from uuid import UUID

from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.exchanges.paper.prices import Bar
from execution.exits.exit_service import ExitService, armed_exits
from execution.exits.levels import levels_of
from execution.orders.connections import balances_of
from execution.orders.order_events import client_order_id
from execution.orders.trade_service import TradeService
from execution.review.review import spendable
from ledger.events import (
    AccountOpened,
    BotRegistered,
    BotStarted,
    CashDeposited,
    Event,
    LimitSet,
    MarkRecorded,
    OrderRequested,
    PortfolioOpened,
)
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.projections.orders import OrderView
from ledger.projections.policy import SignalPolicy, signal_policy
from ledger.values import Instrument, Side, derived_id

ENGINE: Final = 2
"""Raised when the same plan over the same candles may give other events, apart from their sentences."""

ACCOUNT: Final = "paper"
MARK_SOURCE: Final = "backtest"


class ClosedBar(Bar, Protocol):
    """A closed candle with its closing price."""

    @property
    def close(self) -> Decimal: ...


class Series(Protocol):
    """The closed candles of one instrument, oldest first, with an index of days and price levels."""

    @property
    def bars(self) -> Sequence[ClosedBar]: ...

    @property
    def instrument(self) -> Instrument: ...

    def ends_day(self, bar: int) -> bool:
        """`True` for the last bar that closes on its UTC day (a close at 24:00 belongs to the day that ends)."""

    def day_ends_in(self, first: int, end: int) -> list[int]:
        """The bars in `first` … `end` − 1 that are the last of their day."""

    def first_touch(self, stop: Decimal | None, target: Decimal | None, first: int, end: int) -> int:
        """A lower bound for the first bar from `first` on that reaches `stop` or `target`; `end` if none before it does."""


class SimulatedBot(Protocol):
    """A bot in a backtest. Bars are numbered from 0; `view` is the bot's row."""

    @property
    def registration(self) -> BotRegistered: ...

    def next_bar(self, view: BotView, policy: SignalPolicy, after: int) -> int:
        """A lower bound, above `after`, for the next bar with an event of the bot while its row does not change.

        Any number beyond the last bar if there is none.
        """

    def event_at(self, view: BotView, policy: SignalPolicy, bar: int) -> NewEvent | None:
        """The bot's signal or failure at the close of `bar`, evaluated on the bars up to it; None if there is neither."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a simulation over the bars `first` … `end` − 1.

    `limits` override the default policy; `exits` turns on the stops and targets of signals. With `hold` all cash is
    invested at the first bar and held, as a benchmark.
    """

    portfolio_id: UUID
    name: str
    cash: Decimal
    terms: PaperTerms
    limits: tuple[tuple[str, Decimal], ...]
    first: int
    end: int
    exits: bool = True
    hold: bool = False


def simulate(series: Series, bots: Sequence[SimulatedBot], plan: Plan) -> MemoryBook:
    """Simulate the plan and return the book. Equal arguments give equal logs, hash by hash."""
    run = _Run(series, bots, plan)
    bar = plan.first
    while bar < plan.end:
        run.play(bar)
        following = run.next_bar(bar)
        run.mark_days(bar + 1, following)
        bar = following
    return run.book


class _Run:
    """A simulation in progress; its clock is at the close of the current bar."""

    def __init__(self, series: Series, bots: Sequence[SimulatedBot], plan: Plan) -> None:
        self._series = series
        self._plan = plan
        self._bots = {bot.registration.bot_id: bot for bot in bots}
        self._now = series.bars[plan.first].opened_at
        self.book = MemoryBook(self._clock)
        self._paper = PaperExchange(
            (series.instrument,), balances_of(self.book, plan.portfolio_id), self._clock, plan.terms
        )
        exchanges = {self._paper.venue: self._paper}
        self._trader = TradeService(self.book, plan.portfolio_id, exchanges, self._clock)
        self._record(self._opening())
        with self.book.reading(plan.portfolio_id) as reading:
            self._rows = reading.rows
        self._policy = signal_policy(self._rows)
        self._exits = ExitService(self.book, plan.portfolio_id, self._paper, self._trader)

    def _clock(self) -> datetime:
        return self._now

    def _opening(self) -> list[NewEvent]:
        """The events that open the portfolio with its cash and limits, and start its bots."""
        plan, quote = self._plan, self._series.instrument.quote
        registrations = [bot.registration for bot in self._bots.values()]
        events: list[Event] = [
            PortfolioOpened(name=plan.name, base_currency=quote),
            AccountOpened(account=ACCOUNT, venue=self._paper.venue, mode="paper"),
            CashDeposited(account=ACCOUNT, asset=quote, amount=plan.cash),
            *(LimitSet(limit=name, value=value) for name, value in plan.limits),
            *registrations,
            *(BotStarted(bot_id=one.bot_id) for one in registrations),
        ]
        story = plan.portfolio_id
        return [NewEvent(one, derived_id(story, n), self._now, "backtest", story) for n, one in enumerate(events)]

    # --- skipping bars ------------------------------------------------------------------------------------------------

    def next_bar(self, after: int) -> int:
        """The first bar above `after` at which anything but the end of a day may happen; the last bar if there is none."""
        bar, last = after + 1, self._plan.end - 1
        if bar >= last or self._open_orders():
            return bar
        due = min((bot.next_bar(view, self._policy, after) for bot, view in self._running()), default=last)
        return self._series.first_touch(*levels_of(armed_exits(self._rows)), bar, min(due, last))

    def _running(self) -> list[tuple[SimulatedBot, BotView]]:
        return [(self._bots[one.bot_id], one) for one in self._rows.where(BotView) if one.status == "running"]

    def _open_orders(self) -> list[OrderView]:
        return list(self._rows.where(OrderView))

    def _head(self) -> int:
        return self.book.log.head(self._plan.portfolio_id).position

    # --- playing a bar ------------------------------------------------------------------------------------------------

    def play(self, bar: int) -> None:
        """Store everything that follows from the close of the bar."""
        candle, before = self._series.bars[bar], self._head()
        self._now = candle.closed_at
        self._paper.on_bar(candle)
        self._trader.step()
        if self._plan.exits:
            self._exits.on_bar(candle)
        due = [(bot, view) for bot, view in self._running() if bot.next_bar(view, self._policy, bar - 1) == bar]
        emitted = [event for bot, view in due if (event := bot.event_at(view, self._policy, bar)) is not None]
        if emitted or self._head() > before or bar == self._plan.end - 1 or self._series.ends_day(bar):
            self._mark(candle)
        if bar == self._plan.first and self._plan.hold:
            self._buy_all()
        if emitted:
            self._record(emitted)
        self._trader.step()

    def mark_days(self, first: int, end: int) -> None:
        """Store the last price of each day in a range of skipped bars."""
        for bar in self._series.day_ends_in(first, end):
            candle = self._series.bars[bar]
            self._now = candle.closed_at
            self._mark(candle)

    def _mark(self, candle: ClosedBar) -> None:
        instrument, price, at = candle.instrument, candle.close, candle.closed_at
        mark = MarkRecorded(instrument=instrument, price=price, source=MARK_SOURCE)
        new_id = derived_id("mark", self._plan.portfolio_id, instrument, at, MARK_SOURCE, price)
        self._record([NewEvent(mark, new_id, at, "market", new_id)])

    def _record(self, events: Sequence[NewEvent]) -> None:
        self.book.record(self._plan.portfolio_id, events)

    # --- the benchmark ------------------------------------------------------------------------------------------------

    def _buy_all(self) -> None:
        """Invest all cash, less the fee, in one order; it fills over as many candles as their volume requires."""
        rules = self._paper.rules(self._series.instrument)
        assert rules is not None, "the paper venue trades the instrument of the backtest"
        size = spendable(self._plan.cash, rules).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
        last = self._series.bars[self._plan.end - 1].closed_at
        order_id = derived_id(self._plan.portfolio_id, "hold")
        order = OrderRequested(
            client_order_id=client_order_id(order_id),
            account=ACCOUNT,
            venue=self._paper.venue,
            instrument=self._series.instrument,
            side=Side.BUY,
            kind="market",
            quote_size=size,
            triggered_by="manual",
            expires_at=last,
        )
        self._record([NewEvent(order, order_id, self._now, "backtest", order_id)])
