"""A simulated venue as an HTTP server on 127.0.0.1, with keep-alive, network faults, and control routes.

Paths under /control are for the test or person who runs the venue; all others are the venue's own.
"""

import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from execution.exchanges.simulated.binance_shape import BinanceShape
from execution.exchanges.simulated.control import Control
from execution.exchanges.simulated.faults import (
    FILLS_OF_ORDERS,
    LOST_REPLIES,
    NOT_CARRIED_OUT,
    REFUSALS,
    TIMES_OF_ORDERS,
    Faults,
    Planned,
    VenueClock,
)
from execution.exchanges.simulated.luno_shape import LunoShape
from execution.exchanges.simulated.shape import Answer, Request, Shape, reply
from ledger.values import Clock, Instrument

SHAPES: Final[dict[str, type[Shape]]] = {"binance": BinanceShape, "luno": LunoShape}
KEY: Final = "simulated-key"
SECRET: Final = "simulated-secret"  # noqa: S105 - valid only at this server
PART: Final = Decimal("0.4")
GARBAGE: Final = (b"{}", b"null", b'"later"', b'[{"oops": null}]', b'{"oops": 1}')


class SimulatedVenue:
    """One venue at one address, serving from creation until `stop`; port 0 selects a free one.

    `clock` is the venue's time in UTC, before skew and control's advances. Raises OSError for a port in use, ValueError
    for an unknown venue.
    """

    def __init__(self, name: str, clock: Clock, port: int = 0, seed: int = 0) -> None:
        if name not in SHAPES:
            raise ValueError(f"{name[:40]!r} cannot be simulated (available: {', '.join(SHAPES)})")
        self._lock = Lock()
        self._waiting: list[tuple[datetime, Request]] = []
        self.requests: Counter[str] = Counter()
        self.faults = Faults(seed)
        self._garbage = cycle(GARBAGE)
        self.clock = VenueClock(clock, self.faults)
        self.shape = SHAPES[name].opened(self.clock, self.faults, KEY, SECRET)
        self._control = Control(self.shape.matching, self.faults, self.clock, self.requests)
        self._server = _Server(("127.0.0.1", port), self.handle)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name=f"venue {name}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def instruments(self) -> list[Instrument]:
        return list(self.shape.matching.markets)

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, request: Request) -> tuple[Answer, str | None]:
        """Return the reply to a request, and the network fault to apply to it, if any."""
        with self._lock:
            self._catch_up()
            if request.path.startswith("/control/"):
                answer = self._control.answer(request)
                self._catch_up()
                return answer, None
            self.requests[f"{request.method} {request.path}"] += 1
            placing = self.shape.places(request)
            stopped = self.faults.take(NOT_CARRIED_OUT, placing=placing)
            if stopped is None and placing:
                stopped = self.faults.take(REFUSALS, placing=placing)
            if stopped is not None:
                return self._refusal(stopped)
            late = self.faults.take(TIMES_OF_ORDERS, placing=placing) if placing else None
            if late is not None:
                due = self.clock() + timedelta(milliseconds=int(late.seconds * 1000))
                self._waiting.append((due, request))
                return reply({}), "reset"
            answer = self._carried_out(request, placing=placing)
            lost = self.faults.take(LOST_REPLIES, placing=placing)
            return (answer, None) if lost is None else self._lost(lost, answer)

    def _carried_out(self, request: Request, *, placing: bool) -> Answer:
        """Return the venue's reply; an order fills split or in part while such a fault is planned."""
        if not placing:
            return self.shape.answer(request)
        settings = self.shape.matching.settings
        split, partial = (self.faults.take({name}, placing=True) for name in FILLS_OF_ORDERS)
        changed = replace(settings, splits=3 if split else settings.splits, share=PART if partial else settings.share)
        self.shape.matching.settings = changed
        answer = self.shape.answer(request)
        self.shape.matching.settings = settings
        return answer

    def _catch_up(self) -> None:
        """Carry out delayed orders that have arrived by now, each at its time of arrival."""
        now = self.clock()
        due = sorted((one for one in self._waiting if one[0] <= now), key=lambda one: one[0])
        self._waiting = [one for one in self._waiting if one[0] > now]
        for self.clock.fixed, request in due:
            self.shape.answer(request)
        self.clock.fixed = None

    def _refusal(self, fault: Planned) -> tuple[Answer, str | None]:
        return (reply({}), "reset") if fault.name == "dropped" else (self.shape.fail(fault.name), None)

    def _lost(self, fault: Planned, answer: Answer) -> tuple[Answer, str | None]:
        match fault.name:
            case "hang" | "reset" | "half_body":
                return answer, fault.name
            case "html":
                page = b"<html><body>Please wait while your browser is checked</body></html>"
                return Answer(200, page, {"Content-Type": "text/html"}), None
            case "garbage":
                return Answer(200, next(self._garbage)), None
            case name:
                return self.shape.fail(name), None


class _Server(ThreadingHTTPServer):
    """Serves each connection in its own thread; hanging threads do not keep the process alive."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handle: Callable[[Request], tuple[Answer, str | None]]) -> None:
        self.handle = handle
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore closed connections; show any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        address, length = urlsplit(self.path), int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(address.path), address.query, body, headers)
        answer, on_the_wire = self.server.handle(request)
        match on_the_wire:
            case "hang":
                self.close_connection = True
                self.rfile.read(1)  # blocks until the client closes the connection
            case "reset":
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "half_body":
                self.close_connection = True
                self._write(answer, answer.body[: len(answer.body) // 2])
            case _:
                self._write(answer, answer.body)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names required by http.server

    def _write(self, answer: Answer, body: bytes) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: requests are counted."""
