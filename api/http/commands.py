"""Commands: requests that change something, executed once per idempotency key."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response
from litestar.di import Provide
from litestar.params import HeaderParameter
from pydantic import BaseModel

from api.http.auth import caller_of
from api.http.errors import Problem
from api.http.requests import AnyRequest, InPortfolio, Snapshot, clock_of, driven_portfolio, portfolio_of, system_of
from api.runtime.wiring import System
from ledger.entries.recording import record_checked
from ledger.events import Event
from ledger.log.envelope import NewEvent, canonical_json
from ledger.postgres.book import StoredReading
from ledger.postgres.idempotency import IdempotentRequest, answer_request, claim_request, request_record
from ledger.postgres.log import Raw
from ledger.values import derived_id

KEY: Final = re.compile(r"[\x20-\x7e]{1,200}")
API: Final = "/api/v1"
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", required=False)]
"""Required: `Commands` raises a problem of its own for a missing one."""
Answering = Callable[[StoredReading], BaseModel]


class InProgress:
    """Running commands, by portfolio and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[tuple[UUID, str]] = set()

    @contextmanager
    def only_one(self, portfolio_id: UUID, key: str) -> Iterator[None]:
        """Exclude other commands with the same key. Raises Problem 409 while one is running."""
        name = (portfolio_id, key)
        with self._lock:
            if name in self._names:
                raise Problem(409, "still-running", "the first request with this Idempotency-Key is still running")
            self._names.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._names.discard(name)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `actor` in a portfolio. The ids of its events derive from its idempotency key."""

    system: System
    portfolio_id: UUID
    request: IdempotentRequest
    actor: str
    status: int
    in_progress: InProgress

    @property
    def now(self) -> datetime:
        """Current time by the portfolio's clock."""
        return clock_of(self.system, self.portfolio_id)()

    def event_id(self, number: int = 0) -> UUID:
        """Id of the command's event with this number, the same on every attempt."""
        return derived_id(self.portfolio_id, "command", self.request.idempotency_key, number)

    def event(self, event: Event, story: UUID | None = None) -> NewEvent:
        """Date `event` now, with `story` as its correlation id or a new one."""
        return NewEvent(event, self.event_id(), self.now, self.actor, story or self.event_id())

    def claim(self, connection: Raw) -> None:
        """Store the key, in the transaction that stores the events."""
        claim_request(connection, self.portfolio_id, self.request, self.system.clock)

    def record_as_leader(self, events: Sequence[NewEvent], position: int) -> object:
        """Store events of the trader together with the key. Raises NotLeader."""
        return self.system.leadership.record(events, position, alongside=self.claim)

    def record(self, decide: Callable[[StoredReading], list[NewEvent]], answer: Answering) -> Response[Any]:
        """Store the events that `decide` derives from the portfolio's rows, then answer. Raises as `record_checked`."""
        return self.run(lambda: record_checked(self.system.book, self.portfolio_id, decide, self.claim), answer)

    def run(self, act: Callable[[], object], answer: Answering) -> Response[Any]:
        """Call `act` once, then `answer`; a repeat returns the first answer, byte for byte.

        `act` checks its preconditions and calls `claim` in the transaction of its events; if it raises, the key stays
        free. Raises Problem: 422 for a key used with another request, 409 while the first one is running.
        """
        with self.in_progress.only_one(self.portfolio_id, self.request.idempotency_key):
            return self._run(act, answer)

    def _run(self, act: Callable[[], object], answer: Answering) -> Response[Any]:
        book = self.system.book
        with book.transaction() as connection:
            known = request_record(connection, self.portfolio_id, self.request.idempotency_key)
        if known is not None and known.request_hash != self.request.request_hash:
            detail = "this Idempotency-Key belongs to another request: send a new key with each new request"
            raise Problem(422, "idempotency-key-reused", detail)
        if known is not None and known.answer is not None and known.status is not None:
            return _json(known.answer, known.status)
        if known is None:
            act()
        with book.reading(self.portfolio_id) as reading:
            text = answer(reading).model_dump_json()
        with book.transaction() as connection:
            answer_request(connection, self.portfolio_id, self.request, self.status, text, self.system.clock)
        return _json(text, self.status)


@dataclass(frozen=True, slots=True)
class Commands:
    """Makes the command of a request. Each method selects the portfolio and takes the body.

    All raise Problem 400 for a missing or malformed idempotency key.
    """

    request: AnyRequest
    portfolio: str | None
    key: str | None

    def driven(self, body: BaseModel | None = None, *, per_caller: bool = False) -> Command:
        """In the portfolio that this program trades in. Raises Problem 409 if another one is named.

        With `per_caller`, a key used by another caller counts as another request.
        """
        return self.within(driven_portfolio(system_of(self.request), self.portfolio), body, per_caller=per_caller)

    def existing(self, body: BaseModel | None = None) -> Command:
        """In the requested portfolio. Raises Problem 404 if it does not exist."""
        with Snapshot(self.request, self.portfolio).reading() as reading:
            portfolio_id = reading.portfolio_id
        return self.within(portfolio_id, body)

    def unchecked(self, body: BaseModel | None = None) -> Command:
        """In the requested portfolio; the command itself handles that it may not exist."""
        return self.within(portfolio_of(system_of(self.request), self.portfolio), body)

    def within(self, portfolio_id: UUID, body: BaseModel | None = None, *, per_caller: bool = False) -> Command:
        """In the portfolio with this id."""
        if self.key is None or not KEY.fullmatch(self.key):
            detail = (
                "an Idempotency-Key header of 1 to 200 ASCII characters is required, a new one for each new request"
            )
            raise Problem(400, "idempotency-key-needed", detail)
        request, caller = self.request, caller_of(self.request)
        in_progress, handler = request.app.state.in_progress, request.route_handler
        assert isinstance(in_progress, InProgress)
        path = request.scope["path_template"].removeprefix(API).format(**request.path_params)
        name = f"{request.method} {path}" + (f" as {caller.name}" if per_caller else "")
        text = canonical_json([name, body.model_dump(mode="json") if body else None])
        stored = IdempotentRequest(self.key, hashlib.sha256(text.encode()).hexdigest())
        return Command(system_of(request), portfolio_id, stored, caller.actor, handler.status_code, in_progress)


def commands_of(request: AnyRequest, portfolio: InPortfolio = None, idempotency_key: IdempotencyKey = None) -> Commands:
    """Commands of a route with a `portfolio` parameter."""
    return Commands(request, portfolio, idempotency_key)


def fixed_commands_of(request: AnyRequest, idempotency_key: IdempotencyKey = None) -> Commands:
    """Commands of a route without one: the portfolio follows from the route or the body."""
    return Commands(request, None, idempotency_key)


WRITES: Final = {
    "commands": Provide(commands_of, sync_to_thread=False),
    "fixed_commands": Provide(fixed_commands_of, sync_to_thread=False),
}
"""Dependencies of handlers that change something."""


def _json(text: str, status: int) -> Response[Any]:
    return Response(text, status_code=status, media_type="application/json")
