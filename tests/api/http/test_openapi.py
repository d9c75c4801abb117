"""The OpenAPI document: whole, stable, and true (what is sent is held to it in every other test of the interface)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from tests.support.api_system import BUY, Daybook, described, open_daybook, served_document
from tests.support.freqtrade_double import FreqtradeDouble
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
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


@pytest.fixture
def document(daybook: Daybook) -> dict[str, Any]:
    """The document as anyone gets it."""
    found: dict[str, Any] = daybook.client.get("/api/schema/openapi.json").json()
    return found


def test_every_application_serves_the_same_document(database_url: str, tmp_path: Path) -> None:
    """Whatever its settings: so the answers of all are held to the document of the first that was asked."""
    told = []
    for freqtrade in (None, FreqtradeDouble(free_port()).settings()):
        with open_daybook(database_url, tmp_path, freqtrade=freqtrade) as running:
            told.append(running.client.get("/api/schema/openapi.json").json())
            assert served_document(running.client) == told[0]
    assert told[0] == told[1]


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by its id."""
    found = [operation for path in document["paths"].values() for operation in path.values()]
    return {operation["operationId"]: operation for operation in found}


def test_the_document_has_every_route_under_its_known_name(daybook: Daybook, document: dict[str, Any]) -> None:
    """Each documented route has one operation whose id does not change, and no route is left out."""
    assert document["openapi"].startswith("3.1")
    assert set(operations(document)) == OPERATIONS
    handlers = [
        (method, route.path_format)
        for route in daybook.client.app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.resolve_include_in_schema()
    ]
    assert sorted(handlers) == sorted((m.upper(), path) for path, found in document["paths"].items() for m in found)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """No schema is named that is not there, and none is there that is not named."""
    named = set(references(document))

    assert named == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def references(part: object) -> Iterator[str]:
    """Every $ref in this part of the document."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    """Each operation says its errors, all of them application/problem+json; only readiness answers 503 as health."""
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


def test_a_command_documents_its_key(document: dict[str, Any]) -> None:
    """Exactly the commands take an Idempotency-Key, and they require it."""
    with_key = {
        name
        for name, operation in operations(document).items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key" and parameter["required"]
    }
    assert with_key == COMMANDS


def test_what_needs_the_token_says_so(document: dict[str, Any]) -> None:
    """Every operation but those of plain health has the owner's token as its security."""
    without = {name for name, operation in operations(document).items() if not operation.get("security")}

    assert without == {"healthLive", "healthReady"}
    assert document["components"]["securitySchemes"]["owner"]["scheme"] == "bearer"


def test_money_is_documented_as_text(document: dict[str, Any]) -> None:
    """No schema has a number with a fraction."""
    assert '"number"' not in str(document["components"]["schemas"]).replace("'", '"')


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    """Each operation has a sentence."""
    assert [name for name, operation in operations(document).items() if not operation["summary"]] == []


def test_an_answer_that_is_not_as_described_is_found(daybook: Daybook, document: dict[str, Any]) -> None:
    """The check that all tests stand on finds a missing field, a number as money, a field too many and a status too many."""
    answer = daybook.client.get("/health/live")
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
