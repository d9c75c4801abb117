"""Limits: the numbers that the review rules compare with."""

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import Answer, NewValue
from ledger.events import LimitSet
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.policy import LIMITS, limit_of
from ledger.rows import Rows
from ledger.values import Amount


class LimitAnswer(Answer):
    """A limit in force. `default` applies until another value is set."""

    limit: str
    value: Amount
    default: Amount


class LimitController(Controller):
    path = "/api/v1/limits"
    tags = ("review",)

    @get("/", operation_id="listLimits", sync_to_thread=True)
    def list_limits(self, snapshot: NamedDependency[Snapshot]) -> list[LimitAnswer]:
        """All limits with the values in force."""
        with snapshot.reading() as reading:
            return [_limit(reading.rows, name) for name in LIMITS]

    @put("/{name:str}", operation_id="setLimit", status_code=200, sync_to_thread=True)
    def set_limit(
        self, commands: NamedDependency[Commands], data: JSONBody[NewValue], name: FromPath[str]
    ) -> Response[LimitAnswer]:
        """Sets a limit for all later verdicts."""
        command = commands.existing(data)

        def decide(_reading: StoredReading) -> list[NewEvent]:
            if name not in LIMITS:
                raise Problem(404, "unknown-limit", f"there is no limit {name[:40]!r} (limits: {', '.join(LIMITS)})")
            return [command.event(LimitSet(limit=name, value=data.value))]

        return command.record(decide, lambda reading: _limit(reading.rows, name))


def _limit(rows: Rows, name: str) -> LimitAnswer:
    return LimitAnswer(limit=name, value=limit_of(rows, name), default=LIMITS[name])
