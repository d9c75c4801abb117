"""Targets of the portfolio, which the review weighs signals against."""

from typing import Literal

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import ValidationError

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import Answer, NewValue
from ledger.events import TargetRemoved, TargetSet
from ledger.events.fields import fault_text
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.targets import Target
from ledger.values import Amount, UtcTime


class TargetAnswer(Answer):
    """A target. `target` is its name; `value` is in base currency, of an allocation in percent."""

    target: str
    kind: Literal["value", "income", "allocation", "reserve"]
    asset: str | None
    period: Literal["day", "week", "month"] | None
    value: Amount
    set_at: UtcTime


class TargetController(Controller):
    path = "/api/v1/targets"
    tags = ("review",)

    @get("/", operation_id="listTargets", sync_to_thread=True)
    def list_targets(self, snapshot: NamedDependency[Snapshot]) -> list[TargetAnswer]:
        """All targets in force."""
        with snapshot.reading() as reading:
            return [TargetAnswer.model_validate(one) for one in reading.rows.where(Target)]

    @put("/{name:str}", operation_id="setTarget", status_code=200, sync_to_thread=True)
    def set_target(
        self, commands: NamedDependency[Commands], data: JSONBody[NewValue], name: FromPath[str]
    ) -> Response[TargetAnswer]:
        """Sets a target: value, reserve, income-day, income-week, income-month, or allocation-BTC for any asset.

        Values are in base currency, that of an allocation is its share of the portfolio in percent.
        """
        command = commands.existing(data)

        def decide(_reading: StoredReading) -> list[NewEvent]:
            return [command.event(_target_set(_named(name), data))]

        def answer(reading: StoredReading) -> TargetAnswer:
            found = reading.rows.get(Target, name)
            if found is None:
                raise Problem(409, "target-removed", f"target {name[:60]} was set, and has been removed since")
            return TargetAnswer.model_validate(found)

        return command.record(decide, answer)

    @delete("/{name:str}", operation_id="removeTarget", status_code=200, sync_to_thread=True)
    def remove_target(
        self, latest: NamedDependency[Snapshot], commands: NamedDependency[Commands], name: FromPath[str]
    ) -> Response[TargetAnswer]:
        """Removes a target and returns it."""
        with latest.reading() as reading:
            before, command = reading.rows.get(Target, name), commands.within(reading.portfolio_id)

        def decide(reading: StoredReading) -> list[NewEvent]:
            if reading.rows.get(Target, name) is None:
                raise Problem(404, "unknown-target", f"no target {name[:60]} is set")
            return [command.event(_named(name))]

        def answer(_reading: StoredReading) -> TargetAnswer:
            if before is None:
                raise Problem(404, "unknown-target", f"no target {name[:60]} is set")
            return TargetAnswer.model_validate(before)

        return command.record(decide, answer)


def _named(name: str) -> TargetRemoved:
    """Parse the name of a target. Raises Problem 404 for a name that no target can have."""
    kind, _, about = name.partition("-")
    fields = {"kind": kind} | ({"period" if kind == "income" else "asset": about} if about else {})
    try:
        return TargetRemoved.model_validate(fields)
    except ValidationError:
        names = "value, reserve, income-day, income-week, income-month, allocation-ASSET"
        raise Problem(404, "unknown-target", f"there is no target {name[:60]!r} (targets: {names})") from None


def _target_set(about: TargetRemoved, data: NewValue) -> TargetSet:
    """Raises Problem 422 for a value that the target cannot have."""
    try:
        return TargetSet(kind=about.kind, asset=about.asset, period=about.period, value=data.value)
    except ValidationError as error:
        raise Problem(422, "bad-target", fault_text(error.errors()[0])) from None
