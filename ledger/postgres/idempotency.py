"""Commands of senders, stored beside the log: a key that comes again gets the answer of its first time."""

from dataclasses import dataclass
from uuid import UUID

from ledger.postgres.log import Raw
from ledger.values import Clock


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that changes something, by the key its sender gave it; `request_hash` tells repeats from impostors."""

    idempotency_key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What is stored of a command; `status` and `answer` are None while it has not been answered."""

    request_hash: str
    status: int | None
    answer: str | None


def claim_request(connection: Raw, portfolio_id: UUID, command: IdempotentRequest, clock: Clock) -> None:
    """The command's key is taken, in the transaction that stores its events."""
    connection.execute(
        "insert into commands (portfolio_id, idempotency_key, request_hash, received_at) values (%s, %s, %s, %s)"
        " on conflict do nothing",
        (portfolio_id, command.idempotency_key, command.request_hash, clock()),
    )


def answer_request(
    connection: Raw, portfolio_id: UUID, command: IdempotentRequest, status: int, answer: str, clock: Clock
) -> None:
    """The first answer to the command is kept; a later one changes nothing."""
    claim_request(connection, portfolio_id, command, clock)
    connection.execute(
        "update commands set status = %s, answer = %s"
        " where portfolio_id = %s and idempotency_key = %s and status is null",
        (status, answer, portfolio_id, command.idempotency_key),
    )


def request_record(connection: Raw, portfolio_id: UUID, idempotency_key: str) -> RequestRecord | None:
    """What is stored of the command under this key, None for a key that nobody has used in this portfolio."""
    row = connection.execute(
        "select request_hash, status, answer from commands where portfolio_id = %s and idempotency_key = %s",
        (portfolio_id, idempotency_key),
    ).fetchone()
    return None if row is None else RequestRecord(*row)
