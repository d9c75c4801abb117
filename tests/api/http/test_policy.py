"""Limits and targets over HTTP."""

import json
from typing import Any

from httpx import Response

from ledger.projections.policy import LIMITS
from tests.support.api_system import Daybook, problem_of


def put(daybook: Daybook, path: str, value: str, key: str) -> Response:
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return daybook.send("PUT", path, headers=headers, content=json.dumps({"value": value}))


def remove(daybook: Daybook, path: str, key: str) -> Response:
    return daybook.send("DELETE", path, headers={"Idempotency-Key": key})


def limits(daybook: Daybook) -> dict[str, Any]:
    return {one["limit"]: one["value"] for one in daybook.read("limits/")}


def test_limits_list_the_value_in_force(daybook: Daybook) -> None:
    """A value is stored once, and listed in place of the default."""
    assert set(limits(daybook)) == set(LIMITS)
    before = daybook.head()

    first, again = (put(daybook, "limits/daily_loss", "42.5", "one") for _ in range(2))

    assert first.json() == again.json() == {"limit": "daily_loss", "value": "42.5", "default": "100"}
    assert limits(daybook)["daily_loss"] == "42.5"
    assert daybook.head() == before + 1


def test_targets_are_set_replaced_and_removed(daybook: Daybook) -> None:
    for number, name in enumerate(("value", "reserve", "income-month", "allocation-BTC", "allocation-BTC")):
        assert put(daybook, f"targets/{name}", str(number), f"set {number}").status_code == 200
    found = {one["target"]: one for one in daybook.read("targets/")}
    assert {name: one["value"] for name, one in found.items()} == {
        "value": "0",
        "reserve": "1",
        "income-month": "2",
        "allocation-BTC": "4",
    }
    assert (found["allocation-BTC"]["asset"], found["income-month"]["period"]) == ("BTC", "month")

    first, again = (remove(daybook, "targets/income-month", "gone") for _ in range(2))
    assert first.json() == again.json() == found["income-month"]
    assert "income-month" not in [one["target"] for one in daybook.read("targets/")]
    assert problem_of(remove(daybook, "targets/income-month", "again")) == "unknown-target"


REFUSED = [
    ("limits/none", "1", 404, "unknown-limit"),
    ("limits/daily_loss", "-1", 400, "invalid-request"),
    ("targets/wealth", "1", 404, "unknown-target"),
    ("targets/allocation", "1", 404, "unknown-target"),
    ("targets/income-year", "1", 404, "unknown-target"),
    ("targets/value-BTC", "1", 404, "unknown-target"),
    ("targets/allocation-BTC", "101", 422, "bad-target"),
]


def test_limits_and_targets_reject_unknown_names_and_impossible_values(daybook: Daybook) -> None:
    before = daybook.head()

    for path, value, status, problem in REFUSED:
        answer = put(daybook, path, value, "key")
        assert (answer.status_code, problem_of(answer)) == (status, problem), path

    assert daybook.head() == before


def test_limits_apply_to_the_next_verdict(daybook: Daybook) -> None:
    daybook.pass_seconds(2)
    ticket = {"product_id": "BTC-USD", "side": "buy", "quote_size": "50"}
    assert daybook.post("trades/preview", ticket).json()["approved"]

    put(daybook, "limits/maximum_exposure_pct", "0.1", "tight")

    assert not daybook.post("trades/preview", ticket).json()["approved"]
