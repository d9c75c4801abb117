"""Idempotency keys: a repeated request receives the response to the first one."""

from dataclasses import dataclass
from uuid import UUID

from ledger.postgres.log import Raw
from ledger.values import Clock


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that changes data. `request_hash` distinguishes repeats from other requests under the same key."""

    idempotency_key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A stored request; `status` and `answer` are None until its response is stored."""

    request_hash: str
    status: int | None
    answer: str | None


def claim_request(connection: Raw, portfolio_id: UUID, request: IdempotentRequest, clock: Clock) -> None:
    """Store the key, in the transaction that stores the request's events."""
    connection.execute(
        "insert into commands (portfolio_id, idempotency_key, request_hash, received_at) values (%s, %s, %s, %s)"
        " on conflict do nothing",
        (portfolio_id, request.idempotency_key, request.request_hash, clock()),
    )


def answer_request(
    connection: Raw, portfolio_id: UUID, request: IdempotentRequest, status: int, answer: str, clock: Clock
) -> None:
    """Store the response unless one is stored already."""
    claim_request(connection, portfolio_id, request, clock)
    connection.execute(
        "update commands set status = %s, answer = %s"
        " where portfolio_id = %s and idempotency_key = %s and status is null",
        (status, answer, portfolio_id, request.idempotency_key),
    )


def request_record(connection: Raw, portfolio_id: UUID, idempotency_key: str) -> RequestRecord | None:
    """The stored request with this key in this portfolio, if there is one."""
    row = connection.execute(
        "select request_hash, status, answer from commands where portfolio_id = %s and idempotency_key = %s",
        (portfolio_id, idempotency_key),
    ).fetchone()
    return None if row is None else RequestRecord(*row)
