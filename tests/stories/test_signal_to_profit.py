"""The scenario `scenarios/signal_to_profit.txt`, run through review, trade service and ledger."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.orders.trade_service import TradeService
from ledger.events import (
    AccountOpened,
    CashDeposited,
    Event,
    OrderAccepted,
    OrderClosed,
    OrderRequested,
    OrderSubmitted,
    PortfolioOpened,
    SignalApproved,
    SignalEmitted,
    SignalRejected,
    TradeExecuted,
)
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import Balance, cash_of
from ledger.values import ZERO, Asset, Instrument, decimal_text, derived_id
from signals.market.candle import Candle

SCENARIO = Path(__file__).resolve().parents[1] / "scenarios" / "signal_to_profit.txt"
PORTFOLIO = derived_id("signal-to-profit")
BITCOIN = Instrument("BTC-USD")
DAY = datetime(2024, 1, 1, tzinfo=UTC)
CANDLE = re.compile(r"(\d\d):00 candle opens at (\S+) closes at (\S+)")
SIGNAL = re.compile(r"(\d\d):00 (\w+) says (\S+)")


def test_program_agrees_with_scenario() -> None:
    """Events, prices and figures follow from the scenario's candles and signals."""
    assert run(SCENARIO.read_text(encoding="utf-8")) == SCENARIO.read_text(encoding="utf-8")


@pytest.mark.parametrize("figure", ["fee 0.54", "cash 909.46", "realised 14.01", "rejected: confirmed", "0.75 BTC at"])
def test_run_finds_a_changed_figure(figure: str) -> None:
    text = SCENARIO.read_text(encoding="utf-8")
    changed = text.replace(figure, figure.replace("4", "5").replace("7", "8").replace("confirmed", "warm_enough"), 1)

    assert changed != text
    assert run(changed) != changed


def run(text: str) -> str:
    """The scenario with the program's output in the lines that begin with an arrow or an equals sign."""
    world, lines = World(), []
    news: list[str] = []
    for line in text.splitlines():
        happening = CANDLE.fullmatch(line) or SIGNAL.fullmatch(line)
        if happening:
            assert news == [], f"missing in the scenario: {news}"
            news = world.candle(happening) if happening.re is CANDLE else world.signal(happening)
            lines.append(line)
        elif line.startswith("    ->"):
            lines.append(f"    -> {news.pop(0)}" if news else "    -> nothing more")
        elif line.startswith("    ="):
            lines.append(f"    = {world.figures()}")
        else:
            lines.append(line)
    assert news == [], f"missing in the scenario: {news}"
    assert world.broken() == []
    return "\n".join(lines) + "\n"


@dataclass
class World:
    """A paper account with 1000 USD at a venue without spread, and a clock set by the scenario."""

    now: datetime = DAY

    def __post_init__(self) -> None:
        self.book = MemoryBook(lambda: self.now)
        terms = PaperTerms(half_spread=ZERO, impact=ZERO)
        self.paper = PaperExchange((BITCOIN,), self.balance, lambda: self.now, terms)
        self.trader = TradeService(self.book, PORTFOLIO, {"paper": self.paper}, lambda: self.now)
        self.price, self.seen = ZERO, 0
        for event in (
            PortfolioOpened(name="story", base_currency=Asset("USD")),
            AccountOpened(account="paper", venue="paper", mode="paper"),
            CashDeposited(account="paper", asset=Asset("USD"), amount=Decimal(1000)),
        ):
            self.record(event, "first", event.type)
        self.news()

    def candle(self, line: re.Match[str]) -> list[str]:
        closes, opens = DAY + timedelta(hours=int(line[1])), Decimal(line[2])
        self.price = Decimal(line[3])
        high, low = max(opens, self.price), min(opens, self.price)
        hour = timedelta(hours=1)
        candle = Candle(BITCOIN, hour, closes - hour, opens, high, low, self.price, Decimal(1000))
        with self.trader.exclusively():
            self.paper.on_bar(candle)
        self.now = closes
        self.trader.step()
        return self.news()

    def signal(self, line: re.Match[str]) -> list[str]:
        signal = SignalEmitted(
            bot_id=line[2],
            bot_version="1",
            parameters_hash="story",
            instrument=BITCOIN,
            asof=self.now,
            price=self.price,
            score=Decimal(line[3]),
            confidence=Decimal(1),
        )
        self.record(signal, "signal", self.now)
        self.trader.step()
        return self.news()

    def figures(self) -> str:
        with self.book.reading(PORTFOLIO) as reading:
            held = reading.rows.get(Holding, "BTC")
            cash = cash_of(reading.rows, "USD")
        assert held is not None
        figures = [decimal_text(figure) for figure in (cash, held.quantity, held.cost_basis, held.realized_pnl)]
        return "cash {}, {} BTC, cost {}, realised {}".format(*figures)

    def broken(self) -> list[tuple[str, str, str]]:
        with self.book.reading(PORTFOLIO) as reading:
            return list(broken_invariants(reading.rows))

    def balance(self, account: str, asset: str) -> Decimal:
        with self.book.reading(PORTFOLIO) as reading:
            found = reading.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    def record(self, event: Event, *parts: object) -> None:
        event_id = derived_id(*parts)
        self.book.record(PORTFOLIO, [NewEvent(event, event_id, self.now, "story", event_id)])

    def news(self) -> list[str]:
        """The events since the last call, without signals, in the words of the scenario."""
        fresh = list(self.book.log.read(PORTFOLIO, self.seen))
        self.seen += len(fresh)
        return [sentence for envelope in fresh if (sentence := sentence_of(envelope.event))]


def sentence_of(event: Event) -> str:
    """The event in the words of the scenario."""
    match event:
        case SignalRejected():
            return f"rejected: {', '.join(rule.rule for rule in event.rules if not rule.passed)}"
        case SignalApproved():
            return f"approved: {event.side} for {decimal_text(event.quote_size)} USD"
        case OrderRequested() if event.base_size is not None:
            return f"requested: {event.side} {decimal_text(event.base_size)} BTC"
        case OrderRequested():
            return f"requested: {event.side} for {decimal_text(event.quote_size or ZERO)} USD"
        case OrderSubmitted():
            return "submitted"
        case OrderAccepted():
            return "accepted"
        case OrderClosed():
            return f"closed: {event.reason}"
        case TradeExecuted():
            fee = decimal_text(event.fees[0].amount)
            what = f"{event.side} {decimal_text(event.quantity)} BTC at {decimal_text(event.price)} USD"
            return f"trade: {what}, fee {fee} USD"
        case _:
            return ""
