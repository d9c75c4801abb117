"""A server with recorded replies that keeps the requests, for venues that are not simulated."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import ccxt

from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.venues import facts_of
from tests.support.venues.simulated_venue import HandClock


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: its parameters, from query and body."""

    route: str
    parameters: Mapping[str, Any]


@dataclass(slots=True)
class Recorded:
    """Replies by route ("POST /0/private/AddOrder"), as (status, body); other routes get 404."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    always: str | None = None
    """If set, the body of every reply, with status 200."""
    seen: list[Seen] = field(default_factory=list)

    def requests(self, route: str) -> list[Mapping[str, Any]]:
        return [one.parameters for one in self.seen if one.route == route]


@contextmanager
def recorded_venue(venue: str, markets: list[dict[str, Any]]) -> Iterator[tuple[Recorded, CcxtExchange, HandClock]]:
    """Yield the replies to fill in, an adapter to the venue, and its clock. Markets are loaded already."""
    recorded, clock = Recorded(), HandClock()

    def prepare(client: ccxt.Exchange) -> None:
        client.enableRateLimit = False
        client.has = {**client.has, "fetchTime": False}
        client.options["timeDifference"] = 0
        client.set_markets([client.safe_market_structure(market) for market in markets])

    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(recorded))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        url, key = f"http://127.0.0.1:{server.server_address[1]}", ApiKey("key", "c2VjcmV0")
        yield recorded, CcxtExchange(facts_of(venue), "main", key, clock, endpoint=url, prepare=prepare), clock
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spot(identity: str, base: str, quote: str) -> dict[str, Any]:
    """Return a spot market in ccxt's format."""
    return {
        "id": identity,
        "symbol": f"{base}/{quote}",
        "base": base,
        "quote": quote,
        "baseId": base,
        "quoteId": quote,
        "type": "spot",
        "spot": True,
        "active": True,
        "precision": {"amount": "0.00000001", "price": "0.01"},
        "limits": {"amount": {"min": "0.0001", "max": None}, "cost": {"min": None, "max": None}},
    }


def _handler(recorded: Recorded) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            sent = json.loads(body) if body.startswith("{") else dict(parse_qsl(body))
            route = f"{self.command} {address.path}"
            recorded.seen.append(Seen(route, {**dict(parse_qsl(address.query)), **sent}))
            status, answer = recorded.answers.get(route, (404, {}))
            if recorded.always is not None:
                status = 200
            text = (json.dumps(answer) if recorded.always is None else recorded.always).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
