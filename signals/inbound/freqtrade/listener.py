"""Listener for freqtrade: its message websocket while connected, its HTTP interface otherwise.

freqtrade messages have no numbers, are not repeated, and are dropped for slow readers; so the newest rows are requested
again after every connect and where a row is missing. Rows that arrive twice give one signal.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from ledger.values import Clock, Instrument
from signals.inbound.freqtrade.edges import Edge, Edges, Strategy
from signals.inbound.freqtrade.frames import BadFrame, Frame, frame_of_message, read_json
from signals.inbound.freqtrade.rest import FreqtradeRest, FreqtradeUnavailable, Shown

BACKFILL: Final = 100
"""The newest rows requested: more than the maximum age of a signal."""
QUIET_S: Final = 30.0
"""Seconds without a message on an open websocket before the rows are polled over HTTP."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
LONGEST_PAUSE_S: Final = 60.0
TOPICS: Final = ("analyzed_df", "status")


@dataclass(frozen=True, slots=True)
class Emitted:
    """The result of an edge: `later` is to be retried; `again` means that review deferred it."""

    outcome: Literal["new", "known", "refused", "later"]
    again: bool = False


class Socket(Protocol):
    """An open websocket."""

    def send(self, message: str, /) -> None: ...
    def recv(self, timeout: float | None = None) -> str | bytes: ...
    def close(self) -> None: ...


Connect = Callable[[], AbstractContextManager[Socket]]


@dataclass(frozen=True, slots=True)
class Source:
    """The configured name of a freqtrade, and the instruments of its pairs."""

    instance: str
    pairs: Mapping[str, Instrument]
    shorts: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """The state of the connection: `problem` in one sentence, `counts` of received and ignored data."""

    connected: bool = False
    connects: int = 0
    problem: str = ""
    last_message_at: datetime | None = None
    counts: Mapping[str, int] | None = None


class FreqtradeListener:
    """`run` listens until `stop` is called from another thread.

    `emit` records an edge as a signal; `longest` is the maximum age by the present policy; while it is None nothing is
    emitted. `pause` waits some seconds and returns `True` to end; after `quiet_s` without a message the rows are polled
    over HTTP.
    """

    def __init__(
        self,
        source: Source,
        rest: FreqtradeRest,
        connect: Connect,
        emit: Callable[[Edge, Instrument], Emitted],
        clock: Clock,
        longest: Callable[[], timedelta | None],
        pause: Callable[[float], bool] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._source = source
        self._rest = rest
        self._connect = connect
        self._emit = emit
        self._clock = clock
        self._longest = longest
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._quiet_s = quiet_s
        self._gate = threading.Lock()
        self._socket: Socket | None = None
        self._messages = 0
        self._listening = Listening()
        self._counts: Counter[str] = Counter()
        self._edges: Edges | None = None
        self._timeframe = timedelta(0)
        self._requested_at: dict[str, datetime] = {}

    @property
    def listening(self) -> Listening:
        """The present state."""
        with self._gate:
            return replace(self._listening, counts=dict(self._counts))

    def run(self) -> None:
        """Listen until `stop`. Reconnects after a back-off that doubles up to a minute while no message arrives."""
        failures = 0
        with self._rest:
            while not self._stopping.is_set():
                received = self._messages
                problem = self._listen()
                failures = failures + 1 if self._messages == received else 0
                self._note(connected=False, problem=problem)
                if self._pause(min(2.0 ** min(failures, 10), LONGEST_PAUSE_S)):
                    return
                self.poll()

    def stop(self) -> None:
        """End `run` soon, and close an open connection."""
        self._stopping.set()
        socket = self._socket
        if socket is not None:
            socket.close()

    def poll(self) -> None:
        """Read the newest rows over HTTP and emit their signals; a failure becomes the `problem`."""
        try:
            self._adopt(self._rest.show_config())
            for pair in self._source.pairs:
                self._add(self._rest.candles(pair, self._timeframe, BACKFILL))
            self._count("polls")
        except FreqtradeUnavailable as unavailable:
            self._note(problem=str(unavailable))
        self._emit_due()

    def _listen(self) -> str:
        """Listen on one connection, and return the reason why it ended or failed."""
        try:
            self._adopt(self._rest.show_config())
            with self._connect() as socket:
                self._socket = socket
                self._note(connected=True, problem="", connects=self._listening.connects + 1)
                self._receive(socket)
                return ""
        except FreqtradeUnavailable as unavailable:
            return str(unavailable)
        except (WebSocketException, OSError) as lost:
            return sentence(lost)
        finally:
            self._socket = None

    def _receive(self, socket: Socket) -> None:
        socket.send(json.dumps({"type": "subscribe", "data": TOPICS}))
        for pair in self._source.pairs:
            self._request(socket, pair)
        while not self._stopping.is_set():
            try:
                message = socket.recv(timeout=self._quiet_s)
            except TimeoutError:
                self.poll()
                continue
            self._messages += 1
            self._note(last_message_at=self._clock(), problem="")
            self._process(message)
            self._emit_due()
            self._fill_gaps(socket)

    def _process(self, message: str | bytes) -> None:
        """Process a message. Invalid ones are counted and ignored."""
        try:
            content = read_json(message)
            kind = content.get("type") if isinstance(content, dict) else None
            if kind == "analyzed_df":
                self._count("frames")
                self._add(frame_of_message(content.get("data")))
            elif kind == "status":  # started, stopped, or loaded with another strategy
                self._adopt(self._rest.show_config())
            elif not isinstance(kind, str):
                self._count("garbage")
        except BadFrame:
            self._count("garbage")

    def _add(self, frame: Frame) -> None:
        assert self._edges is not None, "show_config is read first"
        self._edges.add(frame, self._clock())

    def _adopt(self, shown: Shown) -> None:
        """Adopt the running strategy; a new one starts without known rows."""
        strategy = Strategy(self._source.instance, shown.strategy, shown.strategy_version)
        if self._edges is None or self._edges.strategy != strategy or self._timeframe != shown.timeframe:
            if self._edges is not None:
                self._add_up(self._edges)
            source = self._source
            self._edges = Edges(strategy, source.pairs, shorts=source.shorts)
            self._timeframe = shown.timeframe

    def _emit_due(self) -> None:
        longest = self._longest()
        if self._edges is None or longest is None:
            return
        while due := self._edges.due(self._clock(), longest):
            later, again = set(), []
            for edge in due:
                emitted = self._emit(edge, self._source.pairs[edge.pair])
                self._count(f"signals_{emitted.outcome}")
                if emitted.outcome == "later":
                    later.add((edge.pair, edge.row.opened_at))
                elif emitted.again:
                    again.append(edge)
            self._edges.done([edge for edge in due if (edge.pair, edge.row.opened_at) not in later], again)
            if later:
                break
        self._add_up(self._edges)

    def _fill_gaps(self, socket: Socket) -> None:
        """Request the newest rows where a predecessor is missing, once per candle."""
        now = self._clock()
        for pair in self._edges.gaps() if self._edges else ():
            if now - self._requested_at.get(pair, now - self._timeframe) >= self._timeframe:
                self._request(socket, pair)

    def _request(self, socket: Socket, pair: str) -> None:
        self._requested_at[pair] = self._clock()
        self._count("backfills")
        socket.send(json.dumps({"type": "analyzed_df", "data": {"limit": BACKFILL, "pair": pair}}))

    def _add_up(self, edges: Edges) -> None:
        with self._gate:
            self._counts.update(edges.counts)
            edges.counts.clear()

    def _count(self, name: str) -> None:
        with self._gate:
            self._counts[name] += 1

    def _note(self, **changes: object) -> None:
        with self._gate:
            self._listening = replace(self._listening, **changes)  # type: ignore[arg-type]  # fields by name


def websocket_of(url: str, token: str) -> Connect:
    """Return a function that connects to the message websocket of the freqtrade at `url` (http or https)."""
    address = f"ws{url.removeprefix('http')}/api/v1/message/ws?token={token}"
    return lambda: connect(address, max_size=LARGEST_MESSAGE, open_timeout=10, close_timeout=1, proxy=None)


def refused_by(connect: Connect) -> str:
    """Try to open the websocket; return the failure in one sentence, or an empty text."""
    try:
        with connect():
            return ""
    except (WebSocketException, OSError) as lost:
        return sentence(lost)


def sentence(lost: WebSocketException | OSError) -> str:
    """Describe the failure of the websocket, without its address, which contains the token."""
    if isinstance(lost, InvalidStatus):
        status = lost.response.status_code
        return f"freqtrade refused the websocket (status {status}): compare ws_token with that of its api_server"
    return f"the websocket to freqtrade failed ({type(lost).__name__}): check that it runs with api_server enabled"
