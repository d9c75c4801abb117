"""The HTTP interface of a simulated venue: requests, replies, and the base of the venues' own interfaces."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Final, NamedTuple
from urllib.parse import parse_qsl

from execution.exchanges.simulated.faults import Faults, Row
from execution.exchanges.simulated.matching import IdScope, Market, Matching, Reason, Rejected
from ledger.values import Clock, Instrument

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Json = Row | Sequence[Row] | Sequence[Sequence[object]]
Action = Callable[[Mapping[str, str]], Json]
"""Carries out a request with these parameters."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `query` and `body` are the raw texts, `headers` have lower-case names."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the query and of a form body."""
        return dict(parse_qsl(self.query) + parse_qsl(self.body))


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Failure(NamedTuple):
    """An error as the venue reports it; `retry_after` is the value of that header, in seconds."""

    code: int | str
    text: str
    status: int = 400
    retry_after: str | None = None


class VenueError(Exception):
    """Ends a request with a failure."""

    def __init__(self, code: int | str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.failure = Failure(code, text, status)


@dataclass(slots=True)
class Shape(ABC):
    """The interface of one venue with one API key: routes, authentication, error codes."""

    matching: Matching
    faults: Faults
    key: str
    secret: str

    markets: ClassVar[Sequence[Market]]
    prices: ClassVar[Mapping[str, Decimal]]
    balances: ClassVar[Mapping[str, Decimal]]
    id_scope: ClassVar[IdScope]
    public: ClassVar[frozenset[str]]
    """Routes without authentication."""
    placing: ClassVar[frozenset[str]]
    """Paths that place orders."""
    error_names: ClassVar[tuple[str, str]]
    """Names of code and text in an error's JSON."""
    no_route: ClassVar[Answer]
    malformed: ClassVar[Failure]
    rejections: ClassVar[Mapping[Reason, Failure]]
    """Without a text, that of `Rejected` is used."""
    failures: ClassVar[Mapping[str, Failure]]
    """Failures by name of the fault."""

    @classmethod
    def opened(cls, clock: Clock, faults: Faults, key: str, secret: str) -> "Shape":
        """Return the interface of a new venue with its initial prices and balances."""
        markets = {market.instrument: market for market in cls.markets}
        prices = {Instrument(name): price for name, price in cls.prices.items()}
        return cls(Matching(markets, cls.id_scope, clock, prices, dict(cls.balances)), faults, key, secret)

    def places(self, request: Request) -> bool:
        """Return whether the request places an order."""
        return request.method == "POST" and request.path in self.placing

    def answer(self, request: Request) -> Answer:
        """Carry out the request."""
        route, parameters = self.route_of(request)
        action = self.action(request.method, route)
        if action is None:
            return self.no_route
        try:
            if route not in self.public:
                self.authenticate(request)
            return reply(action(parameters))
        except Rejected as rejected:
            failure = self.rejections[rejected.reason]
            return self._error(failure._replace(text=failure.text or str(rejected)))
        except VenueError as error:
            return self._error(error.failure)
        except (ArithmeticError, LookupError, ValueError):
            return self._error(self.malformed)

    def fail(self, fault: str) -> Answer:
        """Return the venue's reply for a fault: "rate_limited", "maintenance" and so on."""
        return self._error(self.failures[fault])

    def _error(self, failure: Failure) -> Answer:
        body = dict(zip(self.error_names, failure, strict=False))
        return reply(body, failure.status, {"Retry-After": failure.retry_after} if failure.retry_after else {})

    @abstractmethod
    def route_of(self, request: Request) -> tuple[str, Mapping[str, str]]:
        """Return the route and the parameters of the request."""

    @abstractmethod
    def action(self, method: str, route: str) -> Action | None:
        """Return the action of the route, or None for an unknown one."""

    @abstractmethod
    def authenticate(self, request: Request) -> None:
        """Raise VenueError unless the request is from the owner of the key."""


def reply(body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a JSON response."""
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def milliseconds(at: datetime) -> int:
    """Return milliseconds since 1970."""
    return (at - EPOCH) // timedelta(milliseconds=1)
