"""A freqtrade for tests: message websocket and HTTP interface on one port, with rows set by the test."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs

import uvicorn
from pydantic import SecretStr

from api.runtime.settings import FreqtradeSettings
from ledger.values import Instrument
from tests.support.processes import free_port
from tests.support.waiting import until

PAIR: Final = "BTC/USDT"
USER, PASSWORD, WS_TOKEN = "freqtrader", "their-password", "their-ws-token"
COLUMNS: Final = ("date", "open", "close", "rsi", "enter_long", "exit_long", "enter_tag", "exit_tag")
Cells = dict[str, Any]


def cells(opened_at: datetime, **columns: object) -> Cells:
    """One row of a strategy's table: the open time of its candle, and changed columns."""
    plain = dict.fromkeys(COLUMNS) | {"open": 1.5, "close": 2.5, "rsi": 50.0, "enter_long": 0, "exit_long": 0}
    return plain | {"date": int(opened_at.timestamp() * 1000)} | columns


def split_json(rows: Sequence[Cells]) -> str:
    """The rows in the split orientation of pandas."""
    columns = list(rows[0]) if rows else list(COLUMNS)
    data = [[row[name] for name in columns] for row in rows]
    return json.dumps({"columns": columns, "index": list(range(len(rows))), "data": data})


def message(rows: Sequence[Cells], pair: str = PAIR, timeframe: str = "5m") -> str:
    """An `analyzed_df` message as freqtrade serialises it."""
    table = {"__type__": "dataframe", "__value__": split_json(rows)}
    data = {"key": [pair, timeframe, "spot"], "df": table, "la": datetime(2026, 1, 5, tzinfo=UTC).isoformat()}
    return json.dumps({"type": "analyzed_df", "data": data})


@dataclass
class FreqtradeDouble:
    """Its rows, the requests it received, and its open sockets. Methods may be called from any thread."""

    port: int
    rows: dict[str, list[Cells]] = field(default_factory=lambda: {PAIR: []})
    state: str = "running"
    strategy: str = "Trend"
    dry_run: bool = True
    max_open_trades: int = 0
    accepts_sockets: bool = True
    requests: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    sockets: "list[asyncio.Queue[str | None]]" = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None

    def settings(self, **changes: Any) -> FreqtradeSettings:
        """The settings for a listener."""
        own = FreqtradeSettings(
            url=f"http://127.0.0.1:{self.port}",
            username=USER,
            password=SecretStr(PASSWORD),
            ws_token=SecretStr(WS_TOKEN),
            pairs={PAIR: Instrument("BTC-USD")},
        )
        return own.model_copy(update=changes)

    def send_text(self, text: str) -> None:
        """Send the text to every open socket."""
        self._to_all(text)

    def candle(self, opened_at: datetime, pair: str = PAIR, *, silent: bool = False, **columns: object) -> None:
        """Add the row of an analysed candle, and unless `silent` send it to every socket."""
        self.rows[pair].append(cells(opened_at, **columns))
        if not silent:
            self.send_text(message(self.rows[pair][-1:], pair))

    def drop(self) -> None:
        """Close every open socket."""
        self._to_all(None)

    def _to_all(self, text: str | None) -> None:
        assert self.loop is not None
        for queue in list(self.sockets):
            self.loop.call_soon_threadsafe(queue.put_nowait, text)

    # --- the interface --------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = asyncio.get_running_loop()
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        elif scope["type"] == "http":
            body = b""
            while (part := await receive())["type"] == "http.request":
                body += part.get("body", b"")
                if not part.get("more_body"):
                    break
            status, answer = self._answer(scope, body)
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _serve_socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if parse_qs(scope["query_string"].decode()).get("token") != [WS_TOKEN] or not self.accepts_sockets:
            await send({"type": "websocket.close", "code": 1008})
            return
        await send({"type": "websocket.accept"})
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        sending = asyncio.ensure_future(self._send_queued(queue, send))
        try:
            while (received := await receive())["type"] == "websocket.receive":
                request = json.loads(received["text"])
                self.requests.append(request)
                if request["type"] == "subscribe":
                    self.sockets.append(queue)
                if request["type"] == "analyzed_df" and self.rows[request["data"]["pair"]]:
                    pair, limit = request["data"]["pair"], request["data"]["limit"]
                    queue.put_nowait(message(self.rows[pair][-limit:], pair))
        finally:
            sending.cancel()
            if queue in self.sockets:
                self.sockets.remove(queue)

    async def _send_queued(self, queue: "asyncio.Queue[str | None]", send: Any) -> None:
        while True:
            text = await queue.get()
            if text is None:
                await send({"type": "websocket.close", "code": 1001})
                return
            await send({"type": "websocket.send", "text": text})

    def _answer(self, scope: Any, body: bytes) -> tuple[int, Any]:
        path = scope["path"].removeprefix("/api/v1/")
        self.calls.append(f"{scope['method']} {path}")
        wanted = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
        if path == "ping":
            return 200, {"status": "pong"}
        if dict(scope["headers"]).get(b"authorization") != wanted:
            return 401, {"detail": "Unauthorized"}
        match path:
            case "show_config":
                return 200, {
                    "version": "2025.10",
                    "api_version": 2.42,
                    "strategy": self.strategy,
                    "strategy_version": "3",
                    "state": self.state,
                    "dry_run": self.dry_run,
                    "max_open_trades": self.max_open_trades,
                    "timeframe": "5m",
                    "exchange": "kraken",
                }
            case "health":
                return 200, {"last_process": "2026-01-05T12:00:00+00:00", "last_process_ts": 1767614400}
            case "whitelist":
                return 200, {"whitelist": list(self.rows), "length": len(self.rows), "method": ["StaticPairList"]}
            case "start" | "stop":
                self.state = "running" if path == "start" else "stopped"
                return 200, {"status": f"{path}ing trader ..."}
            case "pair_candles":
                request = json.loads(body)
                table = json.loads(split_json(self.rows[request["pair"]][-request["limit"] :]))
                return 200, table | {
                    "pair": request["pair"],
                    "timeframe": request["timeframe"],
                    "strategy": self.strategy,
                }
        return 404, {"detail": "Not Found"}


@contextmanager
def freqtrade_double() -> Iterator[FreqtradeDouble]:
    """A freqtrade on this machine, without rows."""
    double = FreqtradeDouble(free_port())
    config = uvicorn.Config(
        double, host="127.0.0.1", port=double.port, log_config=None, lifespan="off", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the freqtrade of the tests")
        yield double
    finally:
        server.should_exit = True
        with suppress(RuntimeError):
            double.drop() if double.loop else None
        thread.join(20)


def five_minutes(number: int) -> datetime:
    """The open time of candle `number`."""
    return datetime(2026, 1, 5, 12, 0, tzinfo=UTC) + number * timedelta(minutes=5)
