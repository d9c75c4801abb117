"""Commands are done once: the same key with the same body is answered with the first answer, whatever happened in between."""

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response
from litestar.params import HeaderParameter
from pydantic import BaseModel

from api.http.errors import Problem
from ledger.log.envelope import canonical_json
from ledger.postgres.book import PostgresBook
from ledger.postgres.idempotency import IdempotentRequest, answer_request, claim_request, request_record
from ledger.postgres.log import Raw
from ledger.values import Clock, derived_id

KEY: Final = re.compile(r"[\x20-\x7e]{1,200}")
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", required=False)]
"""Required: `Commands.run` says so in our own words when it is missing."""


@dataclass(frozen=True, slots=True)
class Running:
    """A command that is being done: `claim` is written with its events, ids derive from its key."""

    portfolio_id: UUID
    command: IdempotentRequest
    claim: Callable[[Raw], None]

    def event_id(self, number: int = 0) -> UUID:
        """The same id for the same command, however often it is tried."""
        return derived_id(self.portfolio_id, "command", self.command.idempotency_key, number)


class Commands:
    """Runs commands on one book; two with the same key never run at the same time."""

    def __init__(self, book: PostgresBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._gate = threading.Lock()
        self._running: set[tuple[UUID, str]] = set()

    def run(
        self,
        portfolio_id: UUID,
        key: str | None,
        request: tuple[str, BaseModel | None],
        act: Callable[[Running], None],
        answer: Callable[[Running], BaseModel],
        status: int = 200,
    ) -> Response[Any]:
        """`act` once, then `answer`; a repeat gives the first answer again, byte for byte.

        `act` checks what must be checked and stores `Running.claim` in the transaction of its events; if it raises, the
        key stays free.
        Raises Problem: 400 without a key, 422 for a key seen with another request, 409 while the first is still
        running.
        """
        if not KEY.fullmatch(key or ""):
            detail = "send an Idempotency-Key header of 1 to 200 plain characters: a new one with each new request"
            raise Problem(400, "idempotency-key-needed", detail)
        assert key is not None
        path, body = request
        text = canonical_json([path, body.model_dump(mode="json") if body else None])
        command = IdempotentRequest(key, hashlib.sha256(text.encode()).hexdigest())
        with self._only_one(portfolio_id, key):
            return self._run(portfolio_id, command, act, answer, status)

    def _run(
        self,
        portfolio_id: UUID,
        command: IdempotentRequest,
        act: Callable[[Running], None],
        answer: Callable[[Running], BaseModel],
        status: int,
    ) -> Response[Any]:
        with self._book.transaction() as connection:
            known = request_record(connection, portfolio_id, command.idempotency_key)
        if known is not None and known.request_hash != command.request_hash:
            detail = "this Idempotency-Key was used for another request: send a new key with a new request"
            raise Problem(422, "idempotency-key-reused", detail)
        if known is not None and known.answer is not None and known.status is not None:
            return _json(known.answer, known.status)
        running = Running(
            portfolio_id, command, lambda connection: claim_request(connection, portfolio_id, command, self._clock)
        )
        if known is None:
            act(running)
        text = answer(running).model_dump_json()
        with self._book.transaction() as connection:
            answer_request(connection, portfolio_id, command, status, text, self._clock)
        return _json(text, status)

    def _only_one(self, portfolio_id: UUID, key: str) -> "_Slot":
        return _Slot(self._gate, self._running, (portfolio_id, key))


class _Slot:
    """Holds the place of one running command. Raises Problem 409 when it is taken."""

    def __init__(self, gate: threading.Lock, running: set[tuple[UUID, str]], name: tuple[UUID, str]) -> None:
        self._gate, self._running, self._name = gate, running, name

    def __enter__(self) -> None:
        with self._gate:
            if self._name in self._running:
                raise Problem(409, "still-running", "the first request with this Idempotency-Key is still running")
            self._running.add(self._name)

    def __exit__(self, *_exception: object) -> None:
        with self._gate:
            self._running.discard(self._name)


def _json(text: str, status: int) -> Response[Any]:
    return Response(text, status_code=status, media_type="application/json")
