"""What the door of a simulated venue is made of: a request, an answer, and the shape that turns one into the other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from urllib.parse import parse_qsl

from execution.exchanges.simulated.faults import Faults
from execution.exchanges.simulated.matching import Matching

Json = Mapping[str, object] | Sequence[Mapping[str, object]] | Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `query` and `body` are the raw texts, `headers` have lower-case names."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    def parameters(self) -> dict[str, str]:
        """The parameters of the query and of a form body."""
        return dict(parse_qsl(self.query) + parse_qsl(self.body))


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Shape(Protocol):
    """One venue's door: routes, signatures, error codes, and how it says each thing that goes wrong."""

    name: str
    key: str
    secret: str
    matching: Matching
    faults: Faults

    def places(self, request: Request) -> bool:
        """Whether the request asks for an order."""

    def answer(self, request: Request) -> Answer:
        """The request is carried out."""

    def refuses(self, fault: str) -> Answer:
        """What the venue answers for "rate_limited", "banned", "maintenance", "unknown_503" or "timeout"."""


def said(body: Json, status: int = 200, **headers: str) -> Answer:
    """The answer that says this as JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - EPOCH) // timedelta(milliseconds=1)


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
