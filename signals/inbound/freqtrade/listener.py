"""Listening to freqtrade: its message websocket while that is there, its HTTP interface while it is not.

freqtrade numbers nothing, repeats nothing and drops slow readers; so after every connect, and where a row is missing, the
newest rows are asked for again. What comes twice, on whichever way, is one signal.
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
"""So many of the newest rows are asked for: more than any signal may be old."""
QUIET_S: Final = 30.0
"""So long a silence, in seconds, is borne on an open websocket."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
LONGEST_PAUSE_S: Final = 60.0
TOPICS: Final = ("analyzed_df", "status")


@dataclass(frozen=True, slots=True)
class Emitted:
    """What became of an edge: `later` means that it must be tried again, `again` that review said "not yet" to it."""

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
    """Which freqtrade it is: our name for it, and the pairs that mean something here."""

    instance: str
    pairs: Mapping[str, Instrument]
    shorts: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """How listening goes: `problem` says what is in its way, `counts` what came and what was left out."""

    connected: bool = False
    connects: int = 0
    problem: str = ""
    last_message_at: datetime | None = None
    counts: Mapping[str, int] | None = None


class FreqtradeListener:
    """`run` listens until `stop` is called from another thread.

    `emit` makes a signal of an edge; `longest` is how old one may be by the policy in force; while that cannot be told
    (None) nothing is judged. `pause` waits so many seconds and says whether it is time to end; `quiet_s` is the silence
    after which the rows are asked for over HTTP.
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
        self._asked_at: dict[str, datetime] = {}

    @property
    def listening(self) -> Listening:
        """How it goes just now."""
        with self._gate:
            return replace(self._listening, counts=dict(self._counts))

    def run(self) -> None:
        """Returns after `stop`. What is lost is connected anew after a pause, which doubles up to a minute while nothing is heard."""
        failures = 0
        with self._rest:
            while not self._stopping.is_set():
                heard = self._messages
                problem = self._listen()
                failures = failures + 1 if self._messages == heard else 0
                self._note(connected=False, problem=problem)
                if self._pause(min(2.0 ** min(failures, 10), LONGEST_PAUSE_S)):
                    return
                self.poll()

    def stop(self) -> None:
        """`run` returns soon; an open connection is closed."""
        self._stopping.set()
        socket = self._socket
        if socket is not None:
            socket.close()

    def poll(self) -> None:
        """The newest rows are had over HTTP, and their signals emitted; what is in the way is noted."""
        try:
            self._know(self._rest.show_config())
            for pair in self._source.pairs:
                self._hear(self._rest.candles(pair, self._timeframe, BACKFILL))
            self._count("polls")
        except FreqtradeUnavailable as unavailable:
            self._note(problem=str(unavailable))
        self._emit_due()

    def _listen(self) -> str:
        """What ended the connection, or kept it from being made, in one sentence."""
        try:
            self._know(self._rest.show_config())
            with self._connect() as socket:
                self._socket = socket
                self._note(connected=True, problem="", connects=self._listening.connects + 1)
                self._converse(socket)
                return ""
        except FreqtradeUnavailable as unavailable:
            return str(unavailable)
        except (WebSocketException, OSError) as lost:
            return sentence(lost)
        finally:
            self._socket = None

    def _converse(self, socket: Socket) -> None:
        socket.send(json.dumps({"type": "subscribe", "data": TOPICS}))
        for pair in self._source.pairs:
            self._ask(socket, pair)
        while not self._stopping.is_set():
            try:
                message = socket.recv(timeout=self._quiet_s)
            except TimeoutError:
                self.poll()
                continue
            self._messages += 1
            self._note(last_message_at=self._clock(), problem="")
            self._take(message)
            self._emit_due()
            self._fill_gaps(socket)

    def _take(self, message: str | bytes) -> None:
        """What the message says is known; what it cannot say is counted and changes nothing."""
        try:
            said = read_json(message)
            kind = said.get("type") if isinstance(said, dict) else None
            if kind == "analyzed_df":
                self._count("frames")
                self._hear(frame_of_message(said.get("data")))
            elif kind == "status":  # started, stopped, or loaded with another strategy
                self._know(self._rest.show_config())
            elif not isinstance(kind, str):
                self._count("garbage")
        except BadFrame:
            self._count("garbage")

    def _hear(self, frame: Frame) -> None:
        assert self._edges is not None, "what it runs is asked first"
        self._edges.hear(frame, self._clock())

    def _know(self, shown: Shown) -> None:
        """Rows from now on are those of the strategy that runs; another one starts with nothing known."""
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
        """Where the row before one that speaks is missing, the newest rows are asked for, once in a candle's time."""
        now = self._clock()
        for pair in self._edges.gaps() if self._edges else ():
            if now - self._asked_at.get(pair, now - self._timeframe) >= self._timeframe:
                self._ask(socket, pair)

    def _ask(self, socket: Socket, pair: str) -> None:
        self._asked_at[pair] = self._clock()
        self._count("backfills")
        socket.send(json.dumps({"type": "analyzed_df", "data": {"limit": BACKFILL, "pair": pair}}))

    def _add_up(self, edges: Edges) -> None:
        with self._gate:
            self._counts.update(edges.counts)
            edges.counts.clear()

    def _count(self, what: str) -> None:
        with self._gate:
            self._counts[what] += 1

    def _note(self, **changes: object) -> None:
        with self._gate:
            self._listening = replace(self._listening, **changes)  # type: ignore[arg-type]  # fields by name


def websocket_of(url: str, token: str) -> Connect:
    """Connects to the message websocket of the freqtrade at `url` (http or https)."""
    address = f"ws{url.removeprefix('http')}/api/v1/message/ws?token={token}"
    return lambda: connect(address, max_size=LARGEST_MESSAGE, open_timeout=10, close_timeout=1, proxy=None)


def refused_by(connect: Connect) -> str:
    """Why the websocket cannot be opened, in one sentence; nothing when it can."""
    try:
        with connect():
            return ""
    except (WebSocketException, OSError) as lost:
        return sentence(lost)


def sentence(lost: WebSocketException | OSError) -> str:
    """What became of the websocket. Its address is not told: the token stands in it."""
    if isinstance(lost, InvalidStatus):
        status = lost.response.status_code
        return f"freqtrade answers {status} to the websocket: compare ws_token with that of its api_server"
    return f"the websocket to freqtrade is not there ({type(lost).__name__}): see that it runs, with api_server enabled"
