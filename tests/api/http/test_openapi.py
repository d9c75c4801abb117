"""The OpenAPI document is complete and stable. Every other test of the interface checks answers against it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from api.http.app import create_app
from tests.support.api_system import BASE, BUY, Daybook, described, open_daybook, served_document
from tests.support.bots.freqtrade_double import FreqtradeDouble
from tests.support.http_json_schema import faults
from tests.support.processes import free_port

OPERATIONS = {
    *("getPortfolio", "getPosition", "listPortfolios", "listTrades", "getTrade", "previewTrade", "executeTrade"),
    *("listLots", "nameLots"),
    *("listOrders", "getOrder", "listSignals", "getSignal", "listBots", "listBotKinds", "listBotSignals", "getBot"),
    *("registerBot", "startBot", "stopBot", "evaluateBot", "listEvents", "getEvent", "verify"),
    *("getPnl", "getPerformance", "getEquity"),
    *("getTrading", "haltTrading", "resumeTrading"),
    *("listExits", "setExit", "changeExit", "removeExit"),
    *("openPortfolio", "recordEntry", "reverseTrade", "listAccounts", "openAccount"),
    *("listLimits", "setLimit", "listTargets", "setTarget", "removeTarget"),
    *("listModes", "setMode", "approveSignal", "rejectSignal"),
    *("cancelOrder", "resolveOrder", "listDifferences", "resolveDifference"),
    *("healthLive", "healthReady", "healthTrading"),
    *("emitSignal", "receiveWebhook", "getFreqtrade", "startFreqtrade", "stopFreqtrade"),
}
COMMANDS = {
    *("executeTrade", "registerBot", "startBot", "stopBot", "evaluateBot"),
    *("openPortfolio", "recordEntry", "reverseTrade", "openAccount"),
    *("emitSignal", "startFreqtrade", "stopFreqtrade"),
    *("setLimit", "setTarget", "removeTarget"),
    *("setMode", "approveSignal", "rejectSignal"),
    *("haltTrading", "resumeTrading", "setExit", "changeExit", "removeExit"),
    *("cancelOrder", "resolveOrder", "resolveDifference"),
}


@pytest.fixture
def document(shared_daybook: Daybook) -> dict[str, Any]:
    """The document as served, without a token."""
    found: dict[str, Any] = shared_daybook.client.get("/api/schema/openapi.json").json()
    return found


def test_openapi_document_does_not_depend_on_settings(
    document: dict[str, Any], database_url: str, tmp_path: Path
) -> None:
    """Therefore all answers are checked against the document of one application."""
    with open_daybook(database_url, tmp_path, freqtrade=FreqtradeDouble(free_port()).settings()) as running:
        app = create_app(running.system, running.client.app.state.scheduler)
        with TestClient(app, base_url=BASE) as client:
            assert client.get("/api/schema/openapi.json").json() == document == served_document(running.client)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Operations by id."""
    found = [operation for path in document["paths"].values() for operation in path.values()]
    return {operation["operationId"]: operation for operation in found}


def test_openapi_document_lists_every_route_under_a_stable_id(
    shared_daybook: Daybook, document: dict[str, Any]
) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(operations(document)) == OPERATIONS
    handlers = [
        (method, route.path_format)
        for route in shared_daybook.client.app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.resolve_include_in_schema()
    ]
    assert sorted(handlers) == sorted((m.upper(), path) for path, found in document["paths"].items() for m in found)


def test_openapi_references_match_the_components(document: dict[str, Any]) -> None:
    """Every referenced schema exists, and every schema is referenced."""
    named = set(references(document))

    assert named == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def references(part: object) -> Iterator[str]:
    """All $refs within `part`."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_openapi_errors_are_problems(document: dict[str, Any]) -> None:
    """All errors are application/problem+json, except status 503 of readiness."""
    for name, operation in operations(document).items():
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        wanted = (
            {"500", "503"}
            if name in ("healthLive", "healthReady")
            else {"400", "401", "403", "404", "421", "500", "503"}
        )
        assert wanted <= set(errors), name
        for status, answer in errors.items():
            kind = "application/json" if (name, status) == ("healthReady", "503") else "application/problem+json"
            assert list(answer["content"]) == [kind], (name, status)


def test_openapi_requires_an_idempotency_key_for_exactly_the_commands(document: dict[str, Any]) -> None:
    with_key = {
        name
        for name, operation in operations(document).items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key" and parameter["required"]
    }
    assert with_key == COMMANDS


def test_openapi_security_covers_all_but_plain_health(document: dict[str, Any]) -> None:
    without = {name for name, operation in operations(document).items() if not operation.get("security")}

    assert without == {"healthLive", "healthReady"}
    assert document["components"]["securitySchemes"]["owner"]["scheme"] == "bearer"


def test_openapi_schemas_have_no_fractional_numbers(document: dict[str, Any]) -> None:
    assert '"number"' not in str(document["components"]["schemas"]).replace("'", '"')


def test_openapi_operations_have_summaries(document: dict[str, Any]) -> None:
    assert [name for name, operation in operations(document).items() if not operation["summary"]] == []


def test_schema_check_finds_each_kind_of_mismatch(shared_daybook: Daybook, document: dict[str, Any]) -> None:
    """A missing field, a JSON number as money, an extra field and an undocumented status."""
    answer = shared_daybook.client.get("/health/live")
    assert described(document, "GET", answer) == []
    schema = document["components"]["schemas"]["HealthAnswer"]

    assert faults({"ok": True}, schema, document) == ["$: problems is missing"]
    assert faults({"ok": 1, "problems": []}, schema, document) == ["$.ok: 1 is no boolean"]
    assert faults({"ok": True, "problems": [], "more": 1}, schema, document) == ["$: more is not described"]
    ticket = document["components"]["schemas"]["TradeTicket"]
    assert faults(BUY, ticket, document) == []
    assert len(faults(BUY | {"quote_size": 50}, ticket, document)) == 1
    del document["paths"]["/health/live"]["get"]["responses"]["200"]
    assert described(document, "GET", answer)[0].startswith("healthLive does not say 200")
