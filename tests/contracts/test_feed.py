"""Every feed behaves as the port `CandleFeed` promises: recorded, simulated, and live over HTTP."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Protocol

import pytest

from signals.market.candle import Candle, in_order
from signals.market.feed import CandleFeed
from signals.market.playback import PlayedFeed
from signals.market.recorded import RecordedTape
from signals.market.simulated import SimulatedTape, simulated_candles
from tests.support.venues.kraken_market import BTC, MINUTE, NOON, Kraken, Live, kraken_server  # noqa: F401 - a fixture

WARMUP = 20
MARKET = tuple(islice(simulated_candles(5, BTC, MINUTE), 1000))


class Source(Protocol):
    """A feed with a clock that the test moves."""

    @property
    def feed(self) -> CandleFeed: ...

    def after(self, seconds: int) -> list[Candle]:
        """Let this many seconds of market time pass, and poll."""


class Played:
    """A tape at 60 times the real speed."""

    def __init__(self, tape: RecordedTape | SimulatedTape) -> None:
        self.real = 0.0
        simulated = isinstance(tape, SimulatedTape)
        self.feed = PlayedFeed(
            tape, "SIMULATED" if simulated else "file", "x", Decimal(60), lambda: self.real, simulated=simulated
        )

    def after(self, seconds: int) -> list[Candle]:
        self.real += seconds / 60
        return self.feed.poll()


@pytest.fixture(params=["recorded", "simulated", "live"])
def source(request: pytest.FixtureRequest, kraken: tuple[Kraken, int]) -> Callable[[], Source]:
    """Creates a feed of this kind, as a new run of the program would."""
    made: dict[str, Callable[[], Source]] = {
        "recorded": lambda: Played(RecordedTape(MARKET)),
        "simulated": lambda: Played(SimulatedTape(5, (BTC,), MINUTE)),
        "live": lambda: Live(kraken),
    }
    return made[request.param]


def test_feed_starts_with_history_and_releases_nothing(source: Callable[[], Source]) -> None:
    """The history is in order and ends by market time."""
    feed = source().feed
    feed.start(WARMUP, None)

    history = feed.history(BTC, WARMUP)

    assert len(history) == WARMUP
    assert in_order(history) == history
    assert history[-1].closed_at <= feed.now()
    assert feed.poll() == []
    assert feed.quotes() == [] or not feed.simulated
    assert (BTC in feed.instruments, feed.timeframe, "SIMULATED" in feed.label) == (True, MINUTE, feed.simulated)


def test_feed_releases_each_candle_once_in_order(source: Callable[[], Source]) -> None:
    """Each is at the end of the history when it is released, and has closed by market time."""
    market = source()
    market.feed.start(WARMUP, None)
    past = market.feed.history(BTC, WARMUP)

    released = list(_released(market, minutes=30))

    assert len(released) >= 25
    assert in_order([*past, *released]) == [*past, *released]
    assert market.feed.history(BTC, len(released)) == released
    assert released[-1].closed_at <= market.feed.now()


def test_feed_resumes_after_a_restart(source: Callable[[], Source]) -> None:
    """Candles up to the last one seen are history; those after it are released, as they would have been."""
    market = source()
    market.feed.start(WARMUP, None)
    released = list(_released(market, minutes=10))
    seen: datetime = released[4].closed_at

    again = source()
    again.feed.start(WARMUP, seen)
    later = list(_released(again, minutes=10))

    assert again.feed.history(BTC, 1000)[: -len(later)][-1].closed_at == seen
    assert later[: len(released) - 5] == released[5:]


def test_feed_reaches_back_without_releasing(source: Callable[[], Source]) -> None:
    """The longer history ends with the shorter one, and keeps growing."""
    market = source()
    market.feed.start(WARMUP, None)
    list(_released(market, minutes=200))
    before = market.feed.history(BTC, 1000)

    market.feed.reach_back(BTC, len(before) + 10)

    longer = market.feed.history(BTC, len(before) + 10)
    assert longer[-len(before) :] == before
    assert in_order(longer) == longer
    assert market.feed.poll() == []


def _released(market: Source, minutes: int) -> Iterator[Candle]:
    for _ in range(minutes):
        yield from market.after(60)
