"""Live closed candles and quotes of a public venue through ccxt, without keys."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import localcontext
from typing import Any, Final, TypeVar

import ccxt
import stamina

from ledger.values import Clock, Instrument
from signals.market.candle import BadFeed, Candle, FeedUnavailable, Quote, decimal_of, in_order, timeframe_text
from signals.market.playback import BURST, KEPT, with_older

T = TypeVar("T")

ASK_EVERY_S: Final = 3.0
"""The shortest interval between two requests for the same data, in real seconds."""

# A venue may correct a candle just after its close, and its clock may differ from ours.
_SETTLED_AFTER: Final = timedelta(seconds=2)
_PAGE: Final = 300  # the largest page that every venue supports
_MOST_PAGES: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CcxtFeed:
    """A `CandleFeed` over the public market data of `venue` (a ccxt id). Prices keep every digit of the venue's text.

    Releases closed candles only. Reads that fail in transit are repeated a few times before FeedUnavailable is raised;
    the next poll continues where this one stopped. `prepare` receives the ccxt client before its first use. Raises
    BadFeed when ccxt does not know the venue.
    """

    simulated = False

    def __init__(
        self,
        venue: str,
        instruments: Sequence[Instrument],
        timeframe: timedelta,
        clock: Clock,
        elapsed: Callable[[], float],
        prepare: Callable[[Any], None] = lambda client: None,
    ) -> None:
        if venue not in ccxt.exchanges:
            raise BadFeed(f"{venue[:40]!r} is not a venue known to ccxt: use one such as coinbase or kraken")
        self.label = f"live candles of {venue}"
        self.mark_source = f"ccxt:{venue}"
        self.instruments = tuple(instruments)
        self.timeframe = timeframe
        self._venue = venue
        self._clock = clock
        self._elapsed = elapsed
        self._client = getattr(ccxt, venue)()
        self._client.number = str  # or every price would pass through a float
        prepare(self._client)
        self._history: dict[Instrument, deque[Candle]] = {each: deque(maxlen=KEPT) for each in self.instruments}
        self._next: dict[Instrument, datetime] = {}
        self._waiting: list[Candle] = []
        self._polled_at: float | None = None
        self._quoted_at: float | None = None
        self._quotes: list[Quote] = []

    def start(self, warmup_bars: int, resume_after: datetime | None) -> None:
        """See `CandleFeed.start`. Polls release the candles since `resume_after` that lie within the warm-up.

        Raises BadFeed when the venue lacks an instrument or the timeframe, FeedUnavailable (start again) when it cannot
        be reached.
        """
        self._read("its list of markets", self._client.load_markets, _ONCE)
        self._check_listed()
        begin = self._clock() - self.timeframe * (warmup_bars + 2)
        self._waiting.clear()
        for instrument in self.instruments:
            self._history[instrument] = deque(maxlen=max(KEPT, warmup_bars))
            self._next[instrument] = begin
            for candle in self._since(instrument, begin):
                past = resume_after is None or candle.closed_at <= resume_after
                (self._history[instrument] if past else self._waiting).append(candle)
                self._next[instrument] = candle.closed_at

    def history(self, instrument: Instrument, bars: int) -> list[Candle]:
        kept = self._history[instrument]
        return list(kept)[max(0, len(kept) - bars) :]

    def reach_back(self, instrument: Instrument, bars: int) -> None:
        """See `CandleFeed.reach_back`; reads at most 15,000 candles."""
        kept = self._history[instrument]
        if kept and len(kept) < bars:
            first = kept[0].opened_at
            missing = (bars - len(kept)) * 11 // 10 + 1  # there is no candle for a minute without a trade
            begin = first - self.timeframe * min(missing, _PAGE * _MOST_PAGES)
            older = [candle for candle in self._since(instrument, begin, first) if candle.opened_at < first]
            self._history[instrument] = with_older(older, kept, bars)

    def poll(self) -> list[Candle]:
        """See `CandleFeed.poll`. After an outage of more than 299 candles only the last 299 are released."""
        for instrument in self._due():
            # Venues return one page from a starting point on: one too far back would never reach the present.
            oldest = self._clock() - (_PAGE - 1) * self.timeframe
            for candle in self._page(instrument, max(self._next[instrument], oldest)):
                self._waiting.append(candle)
                self._next[instrument] = candle.closed_at
        self._waiting.sort(key=lambda candle: (candle.closed_at, candle.instrument))
        released, self._waiting = self._waiting[:BURST], self._waiting[BURST:]
        for candle in released:
            self._history[candle.instrument].append(candle)
        return released

    def now(self) -> datetime:
        return self._clock()

    def quotes(self) -> list[Quote]:
        """The best bids and asks, without invalid ones. Raises FeedUnavailable."""
        if self._quoted_at is None or self._elapsed() - self._quoted_at >= ASK_EVERY_S:
            self._quoted_at = self._elapsed()
            found = (self._quote(instrument) for instrument in self.instruments)
            self._quotes = [quote for quote in found if quote is not None]
        return self._quotes

    @property
    def interval_s(self) -> float:
        return ASK_EVERY_S

    @property
    def finished(self) -> bool:
        return False

    def _check_listed(self) -> None:
        length = timeframe_text(self.timeframe)
        known = self._client.timeframes or {}
        if length not in known:
            raise BadFeed(f"{self._venue} has no candles of {length}: it has {', '.join(known)}")
        for instrument in self.instruments:
            if _symbol(instrument) not in self._client.markets:
                raise BadFeed(f"{self._venue} does not trade {instrument}")

    def _due(self) -> list[Instrument]:
        """The instruments of which a candle should have closed; none within `ASK_EVERY_S` of the last request."""
        latest = self._clock() - self.timeframe - _SETTLED_AFTER
        due = [instrument for instrument, opens_at in self._next.items() if opens_at <= latest]
        if not due or (self._polled_at is not None and self._elapsed() - self._polled_at < ASK_EVERY_S):
            return []
        self._polled_at = self._elapsed()
        return due

    def _since(self, instrument: Instrument, begin: datetime, until: datetime | None = None) -> Iterator[Candle]:
        """Read the closed candles from `begin` to the present, page by page, up to the page that reaches `until`."""
        for _ in range(_MOST_PAGES):
            page = self._page(instrument, begin)
            yield from page
            begin = page[-1].closed_at if page else begin + _PAGE * self.timeframe
            if begin + self.timeframe > self._clock() or (until is not None and begin >= until):
                return

    def _page(self, instrument: Instrument, begin: datetime) -> list[Candle]:
        """Read one page of closed candles, opened at `begin` or later. Raises BadCandle."""
        since = (begin - _EPOCH) // timedelta(milliseconds=1)
        query = (_symbol(instrument), timeframe_text(self.timeframe), since, _PAGE)
        rows = self._read(f"candles of {instrument}", lambda: self._client.fetch_ohlcv(*query))
        candles = [self._candle(instrument, row) for row in rows if self._is_closed(row)]
        return in_order(candle for candle in candles if candle.opened_at >= begin)

    def _is_closed(self, row: list[Any]) -> bool:
        return _opened_at(row) + self.timeframe + _SETTLED_AFTER <= self._clock()

    def _candle(self, instrument: Instrument, row: list[Any]) -> Candle:
        names = ("open", "high", "low", "close", "volume")
        numbers = {name: decimal_of(str(value), name) for name, value in zip(names, row[1:6], strict=True)}
        return Candle(instrument, self.timeframe, _opened_at(row), **numbers)

    def _quote(self, instrument: Instrument) -> Quote | None:
        ticker = self._read(f"a quote of {instrument}", lambda: self._client.fetch_ticker(_symbol(instrument)))
        try:
            bid, ask = (decimal_of(str(ticker[name]), name) for name in ("bid", "ask"))
            return Quote(instrument, bid, ask, self._clock())
        except ValueError:
            return None

    def _read(self, wanted: str, call: Callable[[], T], caller: stamina.RetryingCaller | None = None) -> T:
        """Call the venue, repeating a read that failed in transit: reading changes nothing there."""
        try:
            # ccxt changes the thread's decimal context whenever it formats a number (decimal_to_precision).
            with localcontext():
                return (caller or _REPEATED)((ccxt.NetworkError, ccxt.OperationFailed), call)
        except ccxt.BaseError as error:
            why = f"{type(error).__name__}: {error}"[:300]
            raise FeedUnavailable(f"{self._venue} did not return {wanted}: {why}") from error


_REPEATED: Final = stamina.RetryingCaller(attempts=4, timeout=20.0, wait_initial=0.5, wait_max=4.0)
_ONCE: Final = stamina.RetryingCaller(attempts=1)  # the caller of `start` retries


def _symbol(instrument: Instrument) -> str:
    return f"{instrument.base}/{instrument.quote}"


def _opened_at(row: list[Any]) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(row[0]))
