"""Market data: valid candles, playback, CSV files, DAYBOOK_FEED, and a venue over HTTP."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.values import Instrument
from signals.market.candle import (
    BadCandle,
    BadFeed,
    Candle,
    FeedUnavailable,
    Quote,
    in_order,
    timeframe_of,
    timeframe_text,
)
from signals.market.feed import CandleFeed, open_feed
from signals.market.playback import BURST, PlayedFeed
from signals.market.recorded import RecordedTape, read_candles
from tests.support.venues.kraken_market import BTC, MINUTE, NOON, Kraken, Live, kraken_server, numbers_of  # noqa: F401 - a fixture

HOUR = timedelta(hours=1)


def candle(number: int = 0, timeframe: timedelta = MINUTE, **changes: Any) -> Candle:
    fields: dict[str, Any] = {
        "instrument": BTC,
        "timeframe": timeframe,
        "opened_at": NOON + number * timeframe,
        "open": Decimal("100.5"),
        "high": Decimal(102),
        "low": Decimal(99),
        "close": Decimal(101),
        "volume": Decimal("0.25"),
    }
    return Candle(**fields | changes)


# --- candles and quotes -----------------------------------------------------------------------------------------------

prices = st.decimals("0.00000001", "1000000", places=8)


@given(st.tuples(prices, prices, prices, prices), st.decimals(0, 10**9, places=8))
@settings(deadline=None)
def test_candle_accepts_possible_values(four: tuple[Decimal, ...], volume: Decimal) -> None:
    """Any positive open and close between low and high; it closes one timeframe after it opened."""
    low, opened, close, high = sorted(four)
    made = candle(open=opened, close=close, low=low, high=high, volume=volume)
    assert made.closed_at - made.opened_at == MINUTE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *(
            ({name: Decimal(bad)}, name)
            for name in ("open", "high", "low", "close")
            for bad in ("NaN", "Infinity", "0", "-1")
        ),
        *(({"volume": Decimal(bad)}, "volume") for bad in ("NaN", "Infinity", "-0.1")),
        ({"close": 101.0}, "close"),
        ({"close": Decimal("101.1234567890123456789")}, "close"),
        ({"low": Decimal(103)}, "low 103 above its high 102"),
        ({"open": Decimal(98)}, "open 98 outside its range 99 to 102"),
        ({"close": Decimal("102.01")}, "close 102.01 outside"),
        ({"opened_at": datetime(2025, 3, 1)}, "zone"),  # noqa: DTZ001 - the naive time is what must be refused
        ({"timeframe": timedelta(0)}, "must be more than 0"),
        ({"timeframe": -MINUTE}, "must be more than 0"),
    ],
)
def test_candle_refuses_impossible_values(change: dict[str, Any], reason: str) -> None:
    """Numbers not finite or not positive, floats, an impossible range and naive times are named in the message."""
    with pytest.raises(BadCandle, match="the BTC-USD candle of 2025-03-01") as refused:
        candle(**change)
    assert reason in str(refused.value)


def test_candle_converts_its_time_to_utc() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    assert candle(opened_at=NOON.astimezone(there)).opened_at.utcoffset() == timedelta(0)
    assert candle(opened_at=NOON.astimezone(there)) == candle()


@pytest.mark.parametrize(("bid", "ask"), [("0", "1"), ("-1", "1"), ("2", "1"), ("NaN", "1"), ("1", "Infinity")])
def test_quote_refuses_invalid_prices(bid: str, ask: str) -> None:
    """Bid and ask are positive, finite, and not crossed."""
    assert Quote(BTC, Decimal(1), Decimal(1), NOON).bid == 1
    with pytest.raises(ValueError, match=r"not a quote|finite"):
        Quote(BTC, Decimal(bid), Decimal(ask), NOON)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.data())
@settings(deadline=None)
def test_in_order_refuses_repeats_and_overlaps(steps: list[int], data: st.DataObject) -> None:
    """Per instrument; gaps are allowed."""
    candles = [candle(number) for number in accumulate(steps)]
    elsewhere = [replace(each, instrument=Instrument("ETH-USD")) for each in candles]
    assert in_order(candles) == candles
    assert len(in_order([*candles, *elsewhere])) == 2 * len(candles)
    at = data.draw(st.integers(0, len(candles) - 1))
    with pytest.raises(BadCandle, match="comes twice"):
        in_order([*candles[: at + 1], *candles[at:]])
    with pytest.raises(BadCandle, match="comes after the one of"):
        in_order([*candles, candles[at], *candles] if at < len(candles) - 1 else [*candles, candle(0)])
    overlapping = replace(candles[at], opened_at=candles[at].opened_at + timedelta(seconds=30))
    with pytest.raises(BadCandle, match="begins before the one of"):
        in_order([*candles[: at + 1], overlapping])


@given(st.integers(1, 9999), st.sampled_from("smhdw"))
def test_timeframe_text_is_parsed_back(number: int, unit: str) -> None:
    length = timeframe_of(f"{number}{unit}")
    assert timeframe_of(timeframe_text(length)) == length


@pytest.mark.parametrize("text", ["", "m", "0m", "1", "1M", "-1m", "1.5h", "60 m", "1mm", "٣m"])
def test_timeframe_of_refuses_invalid_text(text: str) -> None:
    """Only a whole number above 0 with s, m, h, d or w is a timeframe."""
    with pytest.raises(ValueError, match="is not a timeframe"):
        timeframe_of(text)


# --- playing a tape ---------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """A tape played against real seconds that are moved by hand."""

    tape: RecordedTape
    speed: int = 60
    real: float = 0.0
    feed: PlayedFeed = field(init=False)

    def __post_init__(self) -> None:
        self.feed = PlayedFeed(self.tape, "label", "file:x", Decimal(self.speed), lambda: self.real, simulated=False)

    def after(self, real_seconds: float) -> list[Candle]:
        self.real += real_seconds
        return self.feed.poll()


tapes = st.lists(st.integers(1, 3), min_size=2, max_size=80).map(
    lambda steps: RecordedTape(tuple(candle(number) for number in accumulate(steps)))
)


@given(tapes, st.integers(0, 20), st.lists(st.integers(0, 40), max_size=30))
@settings(deadline=None)
def test_played_feed_releases_each_candle_once_from_its_close(
    tape: RecordedTape, warmup: int, pauses: list[int]
) -> None:
    """At every poll exactly the candles closed by market time are released, in order, and history ends with them."""
    played = Played(tape)
    played.feed.start(warmup, None)
    start, past = played.feed.now(), played.feed.history(BTC, 1000)
    assert past == list(tape.candles[: len(past)])
    released: list[Candle] = []
    for pause in pauses:
        released += played.after(pause)
        due_until = start + timedelta(seconds=60 * played.real)
        assert released == [each for each in tape.candles[len(past) :] if each.closed_at <= due_until]
        assert played.feed.history(BTC, 1000) == [*past, *released]
        assert played.feed.history(BTC, 3) == [*past, *released][-3:]
        assert played.feed.now() == (released[-1].closed_at if released else start)
    assert played.feed.finished == (len(past) + len(released) == len(tape.candles))


@given(tapes, st.integers(0, 90))
@settings(deadline=None)
def test_played_feed_loses_and_repeats_nothing_after_a_restart(tape: RecordedTape, stop: int) -> None:
    """The history before a restart and the candles released after it are together the whole tape."""
    stopped_at = NOON + stop * MINUTE
    played = Played(tape)
    played.feed.start(5, stopped_at)
    past = played.feed.history(BTC, 1000)
    released = [each for _ in range(5) for each in played.after(1000)]
    assert [*past, *released] == list(tape.candles)
    assert all(each.closed_at <= stopped_at for each in past)
    assert all(each.closed_at > stopped_at for each in released)
    assert played.feed.finished


def test_recorded_tape_is_divided_in_the_middle_when_short() -> None:
    """With 50 candles after it, the warm-up is kept in full."""
    tape = RecordedTape(tuple(candle(number) for number in range(100)))
    for warmup, history in ((0, 0), (50, 50), (51, 50), (1000, 50)):
        played = Played(tape)
        played.feed.start(warmup, None)
        assert len(played.feed.history(BTC, 1000)) == history
        assert not played.feed.finished


def test_played_feed_releases_one_burst_after_a_pause_of_the_machine() -> None:
    """After an hour without polls; then market time continues from there, losing nothing."""
    tape = RecordedTape(tuple(candle(number) for number in range(1000)))
    played = Played(tape)
    played.feed.start(0, None)
    assert len(played.after(3600)) == BURST
    assert played.after(0) == []
    assert played.after(1) == [tape.candles[BURST]]
    assert [len(played.after(1)) for _ in range(10)] == [1] * 10


@pytest.mark.parametrize(("speed", "interval"), [(1, 5.0), (60, 1.0), (36_000, 0.05)])
def test_played_feed_interval_is_the_real_time_of_a_candle(speed: int, interval: float) -> None:
    """Between 0.05 and 5 seconds."""
    assert Played(RecordedTape((candle(),)), speed).feed.interval_s == pytest.approx(interval)


# --- CSV files and DAYBOOK_FEED ---------------------------------------------------------------------------------------

HEADER = "timestamp,open,high,low,close,volume"
ROW = "2025-03-01T12:00:00Z,100.5,102,99,101,1e-2"


def opened(spec: str) -> CandleFeed:
    return open_feed(spec, clock=lambda: NOON, elapsed=lambda: 0.0)


def test_open_feed_takes_instrument_and_timeframe_from_the_file_name(tmp_path: Path) -> None:
    """Or from options; numbers keep every digit."""
    for name, options in (
        ("coinbase-BTC-USD-1h.csv", "?speed=36000"),
        ("BTC-USD-1h.csv", "?speed=36000"),
        ("x.csv", "?instrument=BTC-USD&timeframe=1h&speed=36000"),
    ):
        (tmp_path / name).write_text(
            f"{HEADER}\n{ROW}\n2025-03-01T15:00:00+01:00,101,101,101,101,0\n", encoding="utf-8"
        )
        feed = opened(f"file:{tmp_path / name}{options}")
        feed.start(0, None)
        assert (feed.label, feed.mark_source) == (f"recorded candles {name} at 36000x", f"file:{name}")
        assert (feed.instruments, feed.timeframe, feed.simulated, feed.quotes()) == ((BTC,), HOUR, False, [])
        feed.start(1000, None)
        first = feed.history(BTC, 10)[0]
        assert (str(first.open), first.volume, first.opened_at) == ("100.5", Decimal("0.01"), NOON)
        assert feed.now() == first.closed_at


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([HEADER, ROW, ROW], "line 3: .*comes twice"),
        ([HEADER, ROW, "2025-03-01T11:00:00Z,1,1,1,1,1"], "line 3: .*comes after"),
        ([HEADER, ROW, "2025-03-01T12:30:00Z,1,1,1,1,1"], "line 3: .*begins before"),
        ([HEADER, ROW, "2025-03-01T13:00:00Z,1,1,1,1"], "line 3: there are 5 fields, not 6"),
        ([HEADER, ROW, ""], "line 3: there are 0 fields"),
        ([HEADER, "2025-03-01T13:00:00,1,1,1,1,1"], "line 2: .*no zone"),
        ([HEADER, "yesterday,1,1,1,1,1"], "line 2: 'yesterday' is not an ISO"),
        ([HEADER, "2025-03-01T13:00:00Z,1,1,1,x,1"], "line 2: close 'x' is not a number"),
        ([HEADER, "2025-03-01T13:00:00Z,1,1,1,1_0,1"], "line 2: close '1_0'"),
        ([HEADER, "2025-03-01T13:00:00Z,1,1,1,NaN,1"], "line 2: .*wrong close"),
        ([HEADER, "2025-03-01T13:00:00Z,0,0,0,0,0"], "line 2: .*open 0"),
        ([HEADER, "2025-03-01T13:00:00Z,1,1,1,1,-1"], "line 2: .*volume -1"),
        (["time,open,high,low,close,volume", ROW], "line 1 must be timestamp,open"),
        ([], "line 1 must be"),
        ([HEADER], "holds no candle"),
        ([HEADER, '"'], "not a CSV file"),
        ([HEADER, "\udcff"], "not a CSV file"),
    ],
)
def test_read_candles_names_file_and_line_of_an_error(lines: list[str], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "BTC-USD-1h.csv"
    path.write_text("\n".join(lines) + "\n" * bool(lines), encoding="utf-8", errors="surrogateescape")
    with pytest.raises((BadFeed, BadCandle), match=reason) as refused:
        read_candles(path, BTC, HOUR)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "is not a feed: write file:PATH"),
        ("binance", "is not a feed"),
        ("file:", "is not a feed"),
        ("simulated:7", "is not a feed"),
        ("ccxt", "is not a feed"),
        ("file:no/such-BTC-USD-1h.csv?speed=1", "no/such-BTC-USD-1h.csv cannot be opened: No such file"),
        ("file:prices.csv?speed=1", "prices.csv cannot be opened: No such file"),
        ("file:pyproject.toml?speed=1", "pyproject.toml names no instrument and timeframe"),
        ("file:BTC-USD-1h.csv?instrument=BTC-USD,ETH-USD", "holds one instrument"),
        ("simulated?speed=0", "speed '0'"),
        ("simulated?speed=-1", "speed '-1'"),
        ("simulated?speed=fast", "speed 'fast'"),
        ("simulated?speed=nan", "speed 'nan'"),
        ("simulated?speed=99999999", "speed '99999999'"),
        ("simulated?seed=x", "seed 'x' is not a whole number"),
        ("simulated?seed=1&seed=2", "'seed' is given twice"),
        ("simulated?sped=1", "unknown option 'sped' \\(allowed: instrument, seed, speed, timeframe"),
        ("simulated?speed", "cannot be read"),
        ("simulated?timeframe=1M", "'1M' is not a timeframe"),
        ("simulated?instrument=btc", "'btc' is not an instrument"),
        ("ccxt:mtgox", "'mtgox' is not a venue"),
        ("ccxt:Exchange", "'Exchange' is not a venue"),
        ("ccxt:kraken?speed=1", "unknown option 'speed'"),
    ],
)
def test_open_feed_refuses_an_invalid_setting_in_one_line(spec: str, reason: str) -> None:
    with pytest.raises(BadFeed, match=reason) as refused:
        opened(spec)
    assert "\n" not in str(refused.value)


def test_open_feed_labels_simulated_and_live_feeds() -> None:
    """The simulated market has a default for every option; a venue is named in label and source."""
    plain = opened("simulated")
    assert (plain.label, plain.timeframe) == ("SIMULATED market, seed 7, at 300x", MINUTE)
    assert plain.instruments == (BTC, Instrument("ETH-USD"))
    chosen = opened("simulated?seed=3&speed=1.5&timeframe=1h&instrument=LTC-USD")
    assert (chosen.label, chosen.timeframe) == ("SIMULATED market, seed 3, at 1.5x", HOUR)
    assert chosen.instruments == (Instrument("LTC-USD"),)
    live = opened("ccxt:kraken?timeframe=5m&instrument=BTC-USD")
    assert (live.label, live.mark_source, live.simulated) == ("live candles of kraken", "ccxt:kraken", False)
    assert live.now() == NOON
    assert not live.finished


# --- a venue over HTTP ------------------------------------------------------------------------------------------------


def test_ccxt_feed_keeps_every_digit_of_closed_candles(kraken: tuple[Kraken, int]) -> None:
    """History is in order and ends with the last closed candle."""
    live = Live(kraken)
    live.feed.start(1000, None)
    history = live.feed.history(BTC, 2000)
    assert len(history) == 719  # all that the venue has, without the forming one
    assert history[-1].closed_at == NOON
    minute = int(history[-1].opened_at.timestamp()) // 60
    assert [str(history[-1].open), str(history[-1].close)] == [numbers_of(minute)[0], numbers_of(minute)[3]]
    assert str(history[-1].volume) == "0.12345678901234567"
    assert Decimal(str(float(history[-1].close))) != history[-1].close
    assert in_order(history) == history
    assert live.feed.poll() == []


def test_ccxt_feed_releases_a_candle_two_seconds_after_its_close(kraken: tuple[Kraken, int]) -> None:
    """Once, when the venue no longer changes it."""
    live = Live(kraken)
    live.feed.start(10, None)
    assert live.after(29) == []
    assert live.after(2) == []  # closed one second ago
    assert [each.closed_at for each in live.after(1)] == [NOON + MINUTE]
    assert live.after(10) == []
    assert [each.closed_at for each in live.after(180)] == [NOON + number * MINUTE for number in (2, 3, 4)]
    assert live.feed.history(BTC, 1)[0].closed_at == NOON + 4 * MINUTE


def test_ccxt_feed_sends_no_request_before_a_candle_can_have_closed(kraken: tuple[Kraken, int]) -> None:
    """A late candle is requested at most every three seconds."""
    live = Live(kraken)
    live.feed.start(10, None)
    live.venue.requests.clear()
    assert [live.after(1) for _ in range(31)] == [[]] * 31
    assert live.venue.requests == []
    live.venue.skipped = {int(NOON.timestamp()) // 60}
    assert [live.after(1) for _ in range(9)] == [[]] * 9
    assert live.venue.requests == ["OHLC"] * 3


def test_ccxt_feed_skips_minutes_without_a_trade(kraken: tuple[Kraken, int]) -> None:
    live = Live(kraken)
    live.venue.page = 300
    live.venue.skipped = {int(NOON.timestamp()) // 60 + number for number in range(400)}
    live.feed.start(650, None)
    assert [len(live.feed.history(BTC, 1000)), live.feed.now()] == [651, NOON + timedelta(seconds=30)]
    assert live.after(390 * 60) == []
    released = [live.after(60) for _ in range(15)]
    assert next(each.opened_at for batch in released for each in batch) == NOON + 400 * MINUTE


def test_ccxt_feed_reads_history_across_an_empty_page(kraken: tuple[Kraken, int]) -> None:
    live = Live(kraken)
    live.venue.page = 300
    noon = int(NOON.timestamp()) // 60
    live.venue.skipped = set(range(noon - 660, noon - 300))
    live.feed.start(650, None)
    assert [each.opened_at for each in live.feed.history(BTC, 1000)] == [NOON - at * MINUTE for at in range(300, 0, -1)]


def test_ccxt_feed_releases_only_new_candles_of_a_page(kraken: tuple[Kraken, int]) -> None:
    live = Live(kraken)
    live.feed.start(10, None)
    minute = int(NOON.timestamp()) // 60
    rows = [[at * 60_000, "1", "1", "1", "1", "1"] for at in range(minute - 5, minute + 1)]
    live.client.fetch_ohlcv = lambda *_: rows
    assert [each.opened_at for each in live.after(60)] == [NOON]


def test_ccxt_feed_releases_the_candles_since_the_last_one_seen(kraken: tuple[Kraken, int]) -> None:
    live = Live(kraken)
    live.feed.start(100, NOON - 3 * MINUTE)
    assert live.feed.history(BTC, 1)[0].closed_at == NOON - 3 * MINUTE
    assert [each.closed_at for each in live.feed.poll()] == [NOON - 2 * MINUTE, NOON - MINUTE, NOON]


def test_ccxt_feed_repeats_a_failed_read_then_reports_it(kraken: tuple[Kraken, int]) -> None:
    """Two failures in a row are repeated; more raise FeedUnavailable, and the next poll loses nothing."""
    live = Live(kraken)
    live.venue.failures = [503, 500]
    live.feed.start(10, None)
    live.venue.failures = [503] * 3
    with pytest.raises(FeedUnavailable, match="kraken did not return candles of BTC-USD: ExchangeNotAvailable"):
        live.after(60)
    assert [each.closed_at for each in live.after(60)] == [NOON + MINUTE, NOON + 2 * MINUTE]


def test_ccxt_feed_can_be_started_again_after_a_failed_start(kraken: tuple[Kraken, int]) -> None:
    """Candles that the failed start had read are not released twice."""
    live, left = Live(kraken), NOON - 390 * MINUTE
    live.venue.page = 100
    live.venue.failures = [200, 200, 200, 503, 503, 503]
    with pytest.raises(FeedUnavailable, match="candles"):
        live.feed.start(400, left)

    live.feed.start(400, left)

    released = [each.closed_at for _ in range(8) for each in live.feed.poll()]
    assert released == [left + number * MINUTE for number in range(1, 391)]


def test_ccxt_feed_quotes_best_bid_and_ask(kraken: tuple[Kraken, int]) -> None:
    """Requested again after three seconds; a crossed quote is left out."""
    live = Live(kraken)
    live.feed.start(10, None)
    quote = Quote(BTC, Decimal("60000.1"), Decimal("60000.2"), live.venue.now)
    assert live.feed.quotes() == [quote]
    live.venue.ticker["b"] = ["60000.30000", "1", "1.0"]
    assert live.feed.quotes() == [quote]
    live.after(3)
    assert live.feed.quotes() == []


def test_ccxt_feed_names_an_unlisted_instrument_or_timeframe(kraken: tuple[Kraken, int]) -> None:
    with pytest.raises(BadFeed, match="kraken does not trade DOGE-USD"):
        Live(kraken, "DOGE-USD").feed.start(10, None)
    with pytest.raises(BadFeed, match="kraken has no candles of 7m: it has 1m"):
        Live(kraken, timeframe=7 * MINUTE).feed.start(10, None)
