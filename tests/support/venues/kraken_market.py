"""A local server with Kraken's public endpoints, and the ccxt feed that reads it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
import stamina
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from ledger.values import Instrument
from signals.market.candle import Candle
from signals.market.ccxt import CcxtFeed

BTC = Instrument("BTC-USD")
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Kraken:
    """A local server with Kraken's public endpoints. `now` is set by the test; the last candle is still forming."""

    def __init__(self) -> None:
        self.now = NOON + timedelta(seconds=30)
        self.failures: list[int] = []
        self.requests: list[str] = []
        self.ticker = {"b": ["60000.10000", "1", "1.0"], "a": ["60000.20000", "1", "1.0"]}
        self.skipped: set[int] = set()
        self.page = 10_000

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        name = path.rsplit("/", 1)[-1]
        self.requests.append(name)
        if name == "AssetPairs":
            return {"XXBTZUSD": PAIR}
        if name == "OHLC":
            return {"XXBTZUSD": self.rows(int(query["since"][0])), "last": 0}
        return {"XXBTZUSD": {**TICKER, **self.ticker}} if name == "Ticker" else {"XXBT": XXBT, "ZUSD": ZUSD}

    def rows(self, since: int) -> list[list[Any]]:
        """The newest 720 candles, or a page from `since` on; numbers as text with more digits than a float holds."""
        last = int(self.now.timestamp()) // 60
        first = max(since // 60 + 1, last - 719)
        minutes = range(first, min(first + self.page, last + 1))
        wanted = [minute for minute in minutes if minute not in self.skipped]
        return [[minute * 60, *numbers_of(minute), "60000.0", "0.12345678901234567", 3] for minute in wanted]


def numbers_of(minute: int) -> list[str]:
    tail = f"{minute % 1000:03d}"
    return [f"60000.1234567890{tail}", "60009.5", "59990.0", f"60001.1234567890{tail}"]


XXBT = {"aclass": "currency", "altname": "XBT", "decimals": 10, "display_decimals": 5, "status": "enabled"}
ZUSD = {"aclass": "currency", "altname": "USD", "decimals": 4, "display_decimals": 2, "status": "enabled"}
PAIR = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "aclass_base": "currency",
    "base": "XXBT",
    "aclass_quote": "currency",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "cost_decimals": 5,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "fees": [[0, 0.4]],
    "fees_maker": [[0, 0.25]],
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
TICKER = {
    "c": ["60000.1", "0.1"],
    "v": ["1", "2"],
    "p": ["1", "2"],
    "t": [1, 2],
    "l": ["1", "2"],
    "h": ["1", "2"],
    "o": "1",
}


class Redirected(HTTPAdapter):
    """Sends every request to 127.0.0.1, keeping path and query."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        _, _, path, query, _ = urlsplit(str(request.url))
        request.url = urlunsplit(("http", f"127.0.0.1:{self.port}", path, query, ""))
        return super().send(request, *args, **kwargs)


@pytest.fixture(name="kraken")
def kraken_server() -> Iterator[tuple[Kraken, int]]:
    venue = Kraken()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            result = venue.answer(parts.path, parse_qs(parts.query))
            self.send_response(venue.failures.pop(0) if venue.failures else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"error": [], "result": result}).encode())

        def log_message(self, *_: Any) -> None:
            """Quiet: the tests read `requests`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with stamina.set_testing(True, attempts=3):  # repeats at once
        yield venue, server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


class Live:
    """The feed of the local venue, with both clocks set by the test."""

    def __init__(self, kraken: tuple[Kraken, int], instrument: str = "BTC-USD", timeframe: timedelta = MINUTE) -> None:
        self.venue, port = kraken
        self.real = 0.0
        self.client: Any = None

        def prepare(client: Any) -> None:
            self.client = client
            client.enableRateLimit = False
            client.session.mount("https://", Redirected(port))

        clock: Callable[[], datetime] = lambda: self.venue.now  # noqa: E731
        self.feed = CcxtFeed("kraken", [Instrument(instrument)], timeframe, clock, lambda: self.real, prepare)

    def after(self, seconds: int) -> list[Candle]:
        self.venue.now += timedelta(seconds=seconds)
        self.real += seconds
        return self.feed.poll()
