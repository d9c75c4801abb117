"""The backtest: candles and bots through the real review, the real trade service, the paper venue and a book in memory.

It is the pipeline that trades live on a faster clock: what a bot says at the close of a candle is judged there and filled
at the next open or later. Candles at which nothing can happen are passed over. They would have left nothing in the log,
so it is the same, hash by hash, as if each had been gone through.
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
    """A closed candle with the price that it closed at."""

    @property
    def close(self) -> Decimal: ...


class Series(Protocol):
    """The closed candles of one instrument, oldest first, and where among them something can happen."""

    @property
    def bars(self) -> Sequence[ClosedBar]: ...

    @property
    def instrument(self) -> Instrument: ...

    def ends_day(self, bar: int) -> bool:
        """Whether no other bar closes on the same UTC day, whose last moment is 24:00."""

    def day_ends_in(self, first: int, end: int) -> list[int]:
        """The bars from `first` up to, not including, `end` that are the last of their day."""

    def first_touch(self, stop: Decimal | None, target: Decimal | None, first: int, end: int) -> int:
        """A bar from `first` on before which none falls to `stop` or rises to `target`; `end` when none before it may."""


class Voice(Protocol):
    """A bot as the backtest hears it. Bars are numbered from 0."""

    @property
    def registration(self) -> BotRegistered: ...

    def next_bar(self, card: BotView, policy: SignalPolicy, after: int) -> int:
        """A bar above `after` before which the bot surely says nothing to be recorded while its card stays as it is.

        Any number from the end of the bars on when there is none.
        """

    def said(self, card: BotView, policy: SignalPolicy, bar: int) -> NewEvent | None:
        """What is to be recorded of what the bot says at the close of this bar, knowing the bars up to it and no other."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated, beside candles and bots: the bars from `first` up to `end`, which is not one of them.

    `limits` are the policy where it is not the default; `exits` says whether the stops and targets of signals are
    watched. With `hold` all cash buys at the first bar and is kept, as a standard to measure bots against.
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


def simulate(series: Series, voices: Sequence[Voice], plan: Plan) -> MemoryBook:
    """The book after everything that follows from the plan. The same arguments give the same log, hash by hash."""
    run = _Run(series, voices, plan)
    bar = plan.first
    while bar < plan.end:
        run.through(bar)
        following = run.next_bar(bar)
        run.mark_days(bar + 1, following)
        bar = following
    return run.book


class _Run:
    """One simulation on its way; its clock stands at the close of the bar that is being gone through."""

    def __init__(self, series: Series, voices: Sequence[Voice], plan: Plan) -> None:
        self._series = series
        self._plan = plan
        self._voices = {voice.registration.bot_id: voice for voice in voices}
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
        """The portfolio, with its cash, its limits and its bots, which run."""
        plan, quote = self._plan, self._series.instrument.quote
        registrations = [voice.registration for voice in self._voices.values()]
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

    # --- which bars matter --------------------------------------------------------------------------------------------

    def next_bar(self, after: int) -> int:
        """The first bar above `after` at which more may happen than a day's end; the last one if there is none."""
        bar, last = after + 1, self._plan.end - 1
        if bar >= last or self._open_orders():
            return bar
        due = min((voice.next_bar(card, self._policy, after) for voice, card in self._running()), default=last)
        return self._series.first_touch(*levels_of(armed_exits(self._rows)), bar, min(due, last))

    def _running(self) -> list[tuple[Voice, BotView]]:
        return [(self._voices[one.bot_id], one) for one in self._rows.where(BotView) if one.status == "running"]

    def _open_orders(self) -> list[OrderView]:
        return list(self._rows.where(OrderView))

    def _head(self) -> int:
        return self.book.log.head(self._plan.portfolio_id).position

    # --- going through one --------------------------------------------------------------------------------------------

    def through(self, bar: int) -> None:
        """Everything that follows from the close of this bar is in the log."""
        candle, before = self._series.bars[bar], self._head()
        self._now = candle.closed_at
        self._paper.on_bar(candle)
        self._trader.step()
        if self._plan.exits:
            self._exits.on_bar(candle)
        due = [(voice, card) for voice, card in self._running() if voice.next_bar(card, self._policy, bar - 1) == bar]
        said = [voice.said(card, self._policy, bar) for voice, card in due]
        told = [one for one in said if one is not None]
        if told or self._head() > before or bar == self._plan.end - 1 or self._series.ends_day(bar):
            self._mark(candle)
        if bar == self._plan.first and self._plan.hold:
            self._buy_all()
        if told:
            self._record(told)
        self._trader.step()

    def mark_days(self, first: int, end: int) -> None:
        """Where nothing else happens, each day's last price is in the log."""
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

    # --- orders of its own --------------------------------------------------------------------------------------------

    def _buy_all(self) -> None:
        """All cash is in an order, less its fee; it takes as many candles as their volume makes it take."""
        rules = self._paper.rules(self._series.instrument)
        assert rules is not None, "the paper venue trades what the backtest is about"
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
