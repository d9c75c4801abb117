"""Realistic, consistent events for tests, with the same ids and times in every run.

A `Story` generates the events of one portfolio step by step. It keeps track of bots, undecided signals and orders, so
that every event is possible. A `Step` is one move as data that Hypothesis can shrink.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from hypothesis import strategies as st

from ledger import events
from ledger.booking.legs import MOVING
from ledger.events import Event
from ledger.events.fields import Fee, RuleChecked, SignalPart
from ledger.log.envelope import Envelope, NewEvent, canonical_json
from ledger.projections import PROJECTIONS
from ledger.projections.book import Book, changes_of
from ledger.projections.policy import LIMITS
from ledger.rows import MemoryRows, Projection
from ledger.values import Asset, Instrument, Side, derived_id, time_text

START: Final = datetime(2026, 1, 2, 9, 0, tzinfo=UTC)
VENUE: Final = "paper"
ACCOUNT: Final = "main"
INSTRUMENTS: Final = ("BTC-USD", "ETH-USD", "SOL-USD", "ETH-BTC")
ASSETS: Final = ("BTC", "ETH", "SOL", "BNB")
ACCOUNTS: Final = (ACCOUNT, "wallet")
FEES: Final = ("none", "quote", "base", "third", "rebate")
FeeKind = Literal["none", "quote", "base", "third", "rebate"]


class SteppingClock:
    """A clock that advances by `step` at each reading."""

    def __init__(self, start: datetime = START, step: timedelta = timedelta(seconds=1)) -> None:
        self._now = start
        self._step = step

    def __call__(self) -> datetime:
        self._now += self._step
        return self._now


class ListedClock:
    """A clock that returns the given times one after the other, then the last one forever."""

    def __init__(self, times: Iterable[datetime]) -> None:
        self._times = list(times)

    def __call__(self) -> datetime:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a story. `pick` selects among the possibilities; `minutes_late` dates the event back."""

    what: str
    pick: int = 0
    quantity: Decimal = Decimal("0.5")
    price: Decimal = Decimal("60000")
    minutes_late: int = 0


class Story:
    """The history of a portfolio. Methods return the events of one batch, empty when the move is impossible."""

    def __init__(self, name: str = "story", *, allow_short: bool = False) -> None:
        self.name = name
        self.allow_short = allow_short
        self.portfolio_id = derived_id("portfolio", name)
        self.now = START
        self.bots: list[str] = []
        self.signals: list[NewEvent] = []
        self.orders: dict[UUID, events.OrderRequested] = {}
        self.events: list[NewEvent] = []

    def new(
        self,
        event: Event,
        *,
        at: datetime | None = None,
        actor: str = "owner",
        metadata: str = "{}",
        cause: NewEvent | None = None,
    ) -> NewEvent:
        """Wrap `event`. Its id derives from the number of events before it, not from the portfolio."""
        self.now += timedelta(seconds=61, microseconds=13)
        event_id = derived_id("event", len(self.events))
        made = NewEvent(
            event=event,
            event_id=event_id,
            occurred_at=at or self.now,
            actor=actor,
            correlation_id=cause.correlation_id if cause else event_id,
            causation_id=cause.event_id if cause else None,
            metadata=metadata,
        )
        self.events.append(made)
        return made

    def play(self, step: Step) -> list[NewEvent]:
        """Return the events of the next move; none when there is nothing to judge, fill or close."""
        return _MOVES[step.what](self, step)

    # --- portfolio and money -----------------------------------------------------------------------------------------

    def opened(self) -> list[NewEvent]:
        """Return the first batch of every story: portfolio, account and deposit."""
        return [
            self.new(
                events.PortfolioOpened(
                    name=f"The {self.name} portfolio", base_currency=Asset("USD"), allow_short=self.allow_short
                )
            ),
            self.new(events.AccountOpened(account=ACCOUNT, venue=VENUE, mode="paper")),
            *self.deposit(Step("deposit", quantity=Decimal(100000))),
        ]

    def account(self, step: Step) -> list[NewEvent]:
        return [self.new(events.AccountOpened(account=f"account {step.pick}", venue=VENUE, mode="paper"))]

    def deposit(self, step: Step) -> list[NewEvent]:
        return [self.new(events.CashDeposited(account=ACCOUNT, asset=Asset("USD"), amount=step.quantity))]

    def withdraw(self, step: Step) -> list[NewEvent]:
        return [self.new(events.CashWithdrawn(account=ACCOUNT, asset=Asset("USD"), amount=step.quantity))]

    # --- trades ------------------------------------------------------------------------------------------------------

    def buy(self, step: Step) -> list[NewEvent]:
        return [self.trade(Side.BUY, step)]

    def sell(self, step: Step) -> list[NewEvent]:
        return [self.trade(Side.SELL, step)]

    def import_batch(self, step: Step) -> list[NewEvent]:
        """Three trades in one batch, the last older than the others."""
        late = Step(step.what, step.pick, step.quantity, step.price, step.minutes_late + 10)
        return [self.trade(Side.BUY, step), self.trade(Side.SELL, step), self.trade(Side.BUY, late)]

    def trade(self, side: Side, step: Step, order: UUID | None = None) -> NewEvent:
        instrument = Instrument(INSTRUMENTS[step.pick % len(INSTRUMENTS)])
        return self.new(
            events.TradeExecuted(
                account=ACCOUNT,
                venue=VENUE,
                venue_trade_id=f"T{len(self.events)}",
                instrument=instrument,
                side=side,
                quantity=step.quantity,
                price=step.price,
                fees=fees_of(FEES[step.pick % len(FEES)], instrument, step.quantity, step.price),
                quote_rate=Decimal(1) if instrument.quote == "USD" else Decimal("61234.5"),
                order_id=order,
                triggered_by=(
                    f"bot:{self.bots[step.pick % len(self.bots)]}" if self.bots and step.pick % 2 else "manual"
                ),
            ),
            at=self.now - timedelta(minutes=step.minutes_late) if step.minutes_late else None,
            actor="sync",
            metadata=canonical_json({"source": "simulated", "line": len(self.events)}),
        )

    # --- everything else that moves value -------------------------------------------------------------------------------

    def asset_in(self, step: Step) -> list[NewEvent]:
        """A deposit, an opening lot, or income, with or without a known cost."""
        asset, account = Asset(ASSETS[step.pick % len(ASSETS)]), ACCOUNTS[step.pick % 2]
        cost = None if step.pick % 5 == 0 else step.price
        choices: tuple[Event, ...] = (
            events.AssetDeposited(account=account, asset=asset, quantity=step.quantity, cost=cost),
            events.OpeningLotRecorded(account=account, asset=asset, quantity=step.quantity, cost=cost),
            events.IncomeReceived(
                account=account, asset=asset, quantity=step.quantity, value=step.price, kind="staking"
            ),
            events.IncomeReceived(
                account=account, asset=Asset("USD"), quantity=step.price, value=step.price, kind="interest"
            ),
        )
        return [self._dated(choices[step.pick % len(choices)], step)]

    def asset_out(self, step: Step) -> list[NewEvent]:
        asset = Asset(ASSETS[step.pick % len(ASSETS)])
        return [
            self._dated(
                events.AssetWithdrawn(account=ACCOUNTS[step.pick % 2], asset=asset, quantity=step.quantity), step
            )
        ]

    def transfer(self, step: Step) -> list[NewEvent]:
        """A transfer of an asset or cash, with a network fee in the same asset or another, or none."""
        asset, ends = Asset((*ASSETS, "USD")[step.pick % (len(ASSETS) + 1)]), ACCOUNTS[:: 1 if step.pick % 2 else -1]
        paid_in = asset if step.pick % 3 else Asset("ETH")
        value = step.quantity / 1000 if paid_in == "USD" else step.price / 1000
        fee = Fee(asset=paid_in, amount=at12(step.quantity / 1000), value=at12(value)) if step.pick % 4 else None
        moved = events.TransferRecorded(
            from_account=ends[0], to_account=ends[1], asset=asset, quantity=step.quantity, fee=fee
        )
        return [self._dated(moved, step)]

    def split(self, step: Step) -> list[NewEvent]:
        asset, parts = Asset(ASSETS[step.pick % len(ASSETS)]), ((2, 1), (1, 10), (7, 3))[step.pick % 3]
        return [self._dated(events.SplitRecorded(asset=asset, numerator=parts[0], denominator=parts[1]), step)]

    def expense(self, step: Step) -> list[NewEvent]:
        paid_in = Asset(("USD", *ASSETS)[step.pick % (len(ASSETS) + 1)])
        charged = Fee(asset=paid_in, amount=at12(step.quantity / 100), value=at12(step.quantity / 100))
        return [self._dated(events.FeeCharged(account=ACCOUNTS[step.pick % 2], fee=charged, note="custody"), step)]

    def reverse(self, step: Step) -> list[NewEvent]:
        """A reversal of an event of value, sometimes of one already reversed."""
        movements = [one for one in self.events if isinstance(one.event, (*MOVING, events.SplitRecorded))]
        if not movements:
            return []
        target = movements[step.pick * 7 % len(movements)]
        return [self.new(events.TradeReversed(reverses=target.event_id, reason="a mistake"), at=target.occurred_at)]

    def close(self, step: Step) -> list[NewEvent]:
        return [self.new(events.PortfolioClosed(reason=f"reason {step.pick}"))]

    def _dated(self, event: Event, step: Step) -> NewEvent:
        return self.new(event, at=self.now - timedelta(minutes=step.minutes_late) if step.minutes_late else None)

    # --- bots, signals, review ---------------------------------------------------------------------------------------

    def bot(self, step: Step) -> list[NewEvent]:
        """A new bot is registered and started, or a known one is configured, stopped, failed, restarted or disabled."""
        bot_id = f"rsi-{step.pick % 3}"
        if bot_id not in self.bots:
            self.bots.append(bot_id)
            registered = events.BotRegistered(
                bot_id=bot_id,
                kind="rsi",
                bot_version="1",
                instrument=Instrument(INSTRUMENTS[step.pick % 3]),
                timeframe="5m",
                parameters='{"period":14}',
            )
            code = events.BotKindEnabled(
                kind=bot_id, distribution="a-bot", distribution_version="1.0", sha256="0f" * 32
            )
            mode = events.BotModeSet(bot_id=bot_id, mode="ask" if step.pick % 2 else "automatic")
            return [self.new(registered), self.new(events.BotStarted(bot_id=bot_id)), self.new(code), self.new(mode)]
        choices: tuple[Event, ...] = (
            events.BotConfigured(bot_id=bot_id, parameters=canonical_json({"period": step.pick})),
            events.BotStopped(bot_id=bot_id, reason="asked to"),
            events.BotFailed(bot_id=bot_id, asof=self.now, error="ValueError: the window is «too short»"),
            events.BotStarted(bot_id=bot_id),
            events.BotKindDisabled(kind="rsi-1"),
        )
        return [self.new(choices[step.pick % len(choices)])]

    def signal(self, step: Step) -> list[NewEvent]:
        bot_id = self.bots[step.pick % len(self.bots)] if self.bots else "imported"
        score = Decimal(step.pick % 21 - 10) / 10
        emitted = self.new(
            events.SignalEmitted(
                bot_id=bot_id,
                bot_version="1",
                parameters_hash="0f3a",
                instrument=Instrument(INSTRUMENTS[step.pick % 3]),
                asof=self.now,
                price=step.price,
                score=score,
                confidence=abs(score),
                horizon_s=300 if step.pick % 2 else None,
                stop_loss=step.price if step.pick % 3 == 0 else None,
                parts=(SignalPart(name="rsi", score=score, weight=Decimal(1), value=Decimal("28.5")),),
                note='oversold: "28.5" \\ 30',
            ),
            actor=f"bot:{bot_id}",
        )
        self.signals.append(emitted)
        return [emitted]

    def approve(self, step: Step) -> list[NewEvent]:
        """The verdict and the intent to order, in one batch."""
        if not self.signals:
            return []
        signal = self.signals.pop(step.pick % len(self.signals))
        verdict = events.SignalApproved(
            signal_id=signal.event_id, side=Side.BUY, quote_size=Decimal(50), rules=(rule("confidence", passed=True),)
        )
        return [self.new(verdict, actor="review", cause=signal), self._order(step, signal)]

    def reject(self, step: Step) -> list[NewEvent]:
        if not self.signals:
            return []
        signal = self.signals.pop(step.pick % len(self.signals))
        rules = (rule("cooldown", passed=False), rule("confidence", passed=True), rule("halt", passed=False))
        return [
            self.new(
                events.SignalRejected(signal_id=signal.event_id, rules=rules, not_yet=step.pick % 2 == 0),
                actor="review",
                cause=signal,
            )
        ]

    def ask(self, step: Step) -> list[NewEvent]:
        """A request for a person's approval."""
        if not self.signals:
            return []
        signal = self.signals[step.pick % len(self.signals)]
        question = events.ApprovalRequested(
            signal_id=signal.event_id,
            bot_id="one",
            instrument=Instrument(INSTRUMENTS[0]),
            side=Side.BUY,
            quote_size=Decimal(50),
            rules=(rule("person", passed=False),),
        )
        return [self.new(question, actor="review", cause=signal)]

    def expire(self, step: Step) -> list[NewEvent]:
        if not self.signals:
            return []
        signal = self.signals.pop(step.pick % len(self.signals))
        rules = (rule("age", passed=False),)
        return [self.new(events.SignalExpired(signal_id=signal.event_id, rules=rules), actor="review", cause=signal)]

    # --- orders ------------------------------------------------------------------------------------------------------

    def order(self, step: Step) -> list[NewEvent]:
        return [self._order(step, None)]

    def order_and_fill(self, step: Step) -> list[NewEvent]:
        """An order from request to close in one batch, and a fill after the close."""
        requested = self._order(step, None)
        return [
            requested,
            self.new(events.OrderSubmitted(order_id=requested.event_id, attempt=1, deadline=self.now)),
            self.trade(Side.BUY, step, requested.event_id),
            self.new(events.OrderClosed(order_id=requested.event_id, reason="filled", filled=step.quantity)),
            self.trade(Side.BUY, step, requested.event_id),
        ]

    def _order(self, step: Step, signal: NewEvent | None) -> NewEvent:
        by_bot = signal is not None and isinstance(signal.event, events.SignalEmitted)
        requested = events.OrderRequested(
            client_order_id=f"C{len(self.events)}",
            account=ACCOUNT,
            venue=VENUE,
            instrument=Instrument(INSTRUMENTS[step.pick % len(INSTRUMENTS)]),
            side=Side.BUY if step.pick % 2 else Side.SELL,
            kind="limit" if step.pick % 3 else "market",
            base_size=step.quantity if step.pick % 2 else None,
            quote_size=None if step.pick % 2 else Decimal(50),
            limit_price=step.price if step.pick % 3 else None,
            signal_id=signal.event_id if signal else None,
            triggered_by=f"bot:{signal.event.bot_id}" if by_bot else "manual",  # type: ignore[union-attr]
            expires_at=self.now + timedelta(hours=2),
            rules=() if signal else (rule("daily trades", passed=True),),
        )
        made = self.new(requested, actor="desk", cause=signal)
        self.orders[made.event_id] = requested
        return made

    def order_event(self, step: Step) -> list[NewEvent]:
        """The next event of an order; orders may be closed twice or filled late, as at real venues."""
        if not self.orders:
            return []
        order_id = list(self.orders)[step.pick % len(self.orders)]
        choices: tuple[Callable[[], Event], ...] = (
            lambda: events.OrderSubmitted(
                order_id=order_id, attempt=1 + step.pick % 2, deadline=self.now + timedelta(seconds=30)
            ),
            lambda: events.OrderAccepted(order_id=order_id, venue_order_id=f"V{step.pick}"),
            lambda: events.OrderRefused(order_id=order_id, code="FUNDS", text="not enough funds"),
            lambda: events.OutcomeUnknown(order_id=order_id, code="TIMEOUT", text="no answer in 30 s"),
            lambda: events.OrderClosed(order_id=order_id, reason="expired", filled=Decimal(0)),
        )
        number = int(step.price) % (len(choices) + 1)
        if number == len(choices):
            return [self.trade(self.orders[order_id].side, step, order_id)]
        return [self.new(choices[number](), actor="desk")]

    # --- marks and policy --------------------------------------------------------------------------------------------

    def mark(self, step: Step) -> list[NewEvent]:
        instrument = Instrument(INSTRUMENTS[step.pick % len(INSTRUMENTS)])
        at = self.now - timedelta(minutes=step.minutes_late) if step.minutes_late else None
        return [self.new(events.MarkRecorded(instrument=instrument, price=step.price, source="simulated"), at=at)]

    def limit(self, step: Step) -> list[NewEvent]:
        names = sorted(LIMITS)
        value = Decimal(step.pick) / 20
        return [self.new(events.LimitSet(limit=names[step.pick % len(names)], value=value))]

    def guard(self, step: Step) -> list[NewEvent]:
        """A target, a mark of the day before, an exit, and a difference."""
        instrument = Instrument(INSTRUMENTS[step.pick % len(INSTRUMENTS)])
        yesterday = events.MarkRecorded(instrument=instrument, price=step.price, source="simulated")
        armed = events.ExitArmed(
            exit_id=derived_id("exit", len(self.events)),
            account=ACCOUNT,
            instrument=instrument,
            bought=Decimal(0),
            stop=step.price,
        )
        found = events.DifferenceFound(
            account=ACCOUNT, venue=VENUE, subject="balance of BTC", ledger="1", venue_says=str(step.quantity)
        )
        target: Event = events.TargetSet(kind="reserve", value=Decimal(step.pick))
        return [*map(self.new, (target, armed, found)), self.new(yesterday, at=self.now - timedelta(days=1))]

    def halt(self, step: Step) -> list[NewEvent]:
        if step.pick % 2:
            return [self.new(events.TradingResumed(reason="looked into it"))]
        return [self.new(events.TradingHalted(reason="daily loss of 5 % reached"))]


def btc_trade(side: Side, quantity: str, price: str) -> events.TradeExecuted:
    """Return a trade of BTC-USD without fees in account "a"."""
    return events.TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument("BTC-USD"),
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1),
    )


def fees_of(kind: FeeKind, instrument: Instrument, quantity: Decimal, price: Decimal) -> tuple[Fee, ...]:
    """Return a fee of about a thousandth in the asset that `kind` names; a rebate is negative."""
    in_quote = (quantity * price / 1000).quantize(Decimal("1e-12"))
    match kind:
        case "none":
            return ()
        case "quote":
            return (Fee(asset=instrument.quote, amount=in_quote),)
        case "base":
            return (Fee(asset=instrument.base, amount=(quantity / 1000).quantize(Decimal("1e-12"))),)
        case "third":
            return (Fee(asset=Asset("BNB"), amount=Decimal("0.0123"), value=Decimal("7.31")),)
        case "rebate":
            return (Fee(asset=instrument.quote, amount=-in_quote),)


def at12(value: Decimal) -> Decimal:
    """Round to 12 places, at least one unit of the last."""
    return max(value.quantize(Decimal("1e-12")), Decimal("1e-12"))


def rule(name: str, *, passed: bool) -> RuleChecked:
    """Return one rule's result, with a reason and numbers."""
    reason = f"{name} is fine" if passed else f"{name} says no"
    return RuleChecked(rule=name, passed=passed, reason=reason, numbers={"limit": "0.2", "at": time_text(START)})


_MOVES: Final[dict[str, Callable[[Story, Step], list[NewEvent]]]] = {
    "account": Story.account,
    "deposit": Story.deposit,
    "withdraw": Story.withdraw,
    "buy": Story.buy,
    "sell": Story.sell,
    "import": Story.import_batch,
    "asset_in": Story.asset_in,
    "asset_out": Story.asset_out,
    "transfer": Story.transfer,
    "split": Story.split,
    "expense": Story.expense,
    "reverse": Story.reverse,
    "close": Story.close,
    "bot": Story.bot,
    "signal": Story.signal,
    "approve": Story.approve,
    "reject": Story.reject,
    "ask": Story.ask,
    "expire": Story.expire,
    "order": Story.order,
    "order_and_fill": Story.order_and_fill,
    "order_event": Story.order_event,
    "mark": Story.mark,
    "limit": Story.limit,
    "halt": Story.halt,
    "guard": Story.guard,
}
MOVES: Final = tuple(_MOVES)


# --- strategies -------------------------------------------------------------------------------------------------------


def quantities() -> st.SearchStrategy[Decimal]:
    """Traded quantities, from dust to a thousand: mostly 8 decimal places, sometimes 18."""
    return st.one_of(
        st.decimals(Decimal("0.00000001"), 1000, places=8),
        st.decimals(Decimal("0.001"), 10, places=18),
        st.integers(1, 9).map(Decimal),
    )


def prices() -> st.SearchStrategy[Decimal]:
    """Prices from a fraction of a cent to a hundred thousand."""
    return st.one_of(st.decimals(Decimal("0.01"), 100000, places=2), st.decimals(Decimal("0.001"), 3, places=18))


def steps(*moves: str) -> st.SearchStrategy[Step]:
    """Steps of these moves (default: of all)."""
    return st.builds(
        Step,
        what=st.sampled_from(moves or MOVES),
        pick=st.integers(0, 30),
        quantity=quantities(),
        price=prices(),
        minutes_late=st.sampled_from((0, 0, 0, 3, 45)),
    )


def batches_of(story: Story, moves: Iterable[Step]) -> list[list[NewEvent]]:
    """Return the opening batch and the batch of every possible step."""
    return [story.opened(), *(batch for step in moves if (batch := story.play(step)))]


def realistic_batches(story: Story, length: int, seed: int = 7) -> list[list[NewEvent]]:
    """Return the batches of `length` steps, the same in every run, that touch every kind of row."""
    dice = random.Random(seed)
    chosen = [
        Step(
            what=MOVES[number % len(MOVES)] if number < 2 * len(MOVES) else dice.choice(MOVES),
            pick=dice.randrange(31),
            quantity=Decimal(dice.randrange(1, 10**9)) / 10**8,
            price=Decimal(dice.randrange(100, 10**7)) / 100,
            minutes_late=dice.choice((0, 0, 0, 7)),
        )
        for number in range(length)
    ]
    oversold = Step("sell", pick=2, quantity=Decimal(500), price=Decimal(150))
    return batches_of(story, [Step("bot"), Step("signal"), *chosen, oversold])


def record_all(book: Book, story: Story, batches: Iterable[list[NewEvent]]) -> None:
    """Record all batches in the book."""
    for batch in batches:
        book.record(story.portfolio_id, batch)


def fold_log(
    envelopes: Iterable[Envelope], rows: MemoryRows, projections: Iterable[Projection] = PROJECTIONS
) -> MemoryRows:
    """Fold `envelopes` into `rows`, which then find them by id, and return `rows`."""
    chosen, before, seen = tuple(projections), rows.recorded, dict[UUID, Envelope]()
    rows.recorded = lambda event_id: seen.get(event_id) or before(event_id)
    for envelope in envelopes:
        seen[envelope.event_id] = envelope
        rows.apply(changes_of(rows, envelope, chosen))
    return rows


def altered(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | Decimal():
            return value + 1
        case datetime():
            return value + timedelta(microseconds=1)
        case UUID():
            return UUID(int=value.int ^ 1)
        case str():
            return value + "x"
        case None:
            return None
    raise TypeError(f"no other value is known for a {type(value).__name__}")
