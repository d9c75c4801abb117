"""Targets: what the owner wants of the portfolio, which the decision engine weighs signals against."""

from collections.abc import Callable
from uuid import UUID

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import ValidationError

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.policy_schemas import NewValue, TargetAnswer
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    clock_of,
    commands_of,
    only_parameters,
    reading_of,
    system_of,
)
from ledger.entries.recording import record_checked
from ledger.events import TargetRemoved, TargetSet
from ledger.events.fields import fault_text
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections.targets import Target


class TargetController(Controller):
    path = "/api/v1/targets"
    tags = ("review",)

    @get("/", operation_id="listTargets", sync_to_thread=True)
    def list_targets(
        self, request: AnyRequest, past: NamedDependency[PointInTime], portfolio: InPortfolio = None
    ) -> list[TargetAnswer]:
        """Every target in force."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            return [TargetAnswer.model_validate(one) for one in reading.rows.where(Target)]

    @put("/{name:str}", operation_id="setTarget", status_code=200, sync_to_thread=True)
    def set_target(
        self,
        request: AnyRequest,
        data: JSONBody[NewValue],
        name: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[TargetAnswer]:
        """Sets a target: value, reserve, income-day, income-week, income-month, or allocation-BTC for any asset.

        Values are in base currency, that of an allocation is its share of the portfolio in percent.
        """
        only_parameters(request, "portfolio")
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            _store(request, portfolio_id, running, lambda _: _wanted(_named(name), data))

        def answer(_running: Running) -> TargetAnswer:
            with system_of(request).book.reading(portfolio_id) as reading:
                found = reading.rows.get(Target, name)
                if found is None:
                    raise Problem(409, "target-removed", f"{name[:60]} was set, and has been removed since")
                return TargetAnswer.model_validate(found)

        command = (f"PUT /targets/{name}", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)

    @delete("/{name:str}", operation_id="removeTarget", status_code=200, sync_to_thread=True)
    def remove_target(
        self,
        request: AnyRequest,
        name: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[TargetAnswer]:
        """Removes a target, and answers with what it was."""
        only_parameters(request, "portfolio")
        with reading_of(request, portfolio) as reading:
            portfolio_id, before = reading.portfolio_id, reading.rows.get(Target, name)

        def act(running: Running) -> None:
            def removed(reading: StoredReading) -> TargetRemoved:
                if reading.rows.get(Target, name) is None:
                    raise Problem(404, "unknown-target", f"no target {name[:60]} is set")
                return _named(name)

            _store(request, portfolio_id, running, removed)

        def answer(_running: Running) -> TargetAnswer:
            if before is None:
                raise Problem(404, "unknown-target", f"no target {name[:60]} is set")
            return TargetAnswer.model_validate(before)

        command = (f"DELETE /targets/{name}", None)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)


def _store(
    request: AnyRequest,
    portfolio_id: UUID,
    running: Running,
    event_of: Callable[[StoredReading], TargetSet | TargetRemoved],
) -> None:
    system = system_of(request)

    def prepare(reading: StoredReading) -> list[NewEvent]:
        event_id, now = running.event_id(), clock_of(system, portfolio_id)()
        return [NewEvent(event_of(reading), event_id, now, caller_of(request).actor, event_id)]

    record_checked(system.book, portfolio_id, prepare, running.claim)


def _named(name: str) -> TargetRemoved:
    """What the name is about. Raises Problem 404 for a name that no target has."""
    kind, _, about = name.partition("-")
    said = {"kind": kind} | ({"period" if kind == "income" else "asset": about} if about else {})
    try:
        return TargetRemoved.model_validate(said)
    except ValidationError:
        names = "value, reserve, income-day, income-week, income-month, and allocation-ASSET"
        raise Problem(404, "unknown-target", f"there is no target {name[:60]!r}: there are {names}") from None


def _wanted(about: TargetRemoved, data: NewValue) -> TargetSet:
    """Raises Problem 422 for a value that the target cannot have."""
    try:
        return TargetSet(kind=about.kind, asset=about.asset, period=about.period, value=data.value)
    except ValidationError as error:
        raise Problem(422, "bad-target", fault_text(error.errors()[0])) from None
