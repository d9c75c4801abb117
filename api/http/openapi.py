"""The OpenAPI 3.1 document: Litestar's routes, pydantic's schemas, and every error."""

import copy
import json
from collections.abc import Mapping
from http import HTTPStatus
from inspect import getmembers, isclass
from typing import Any, Final

from litestar.enums import MediaType
from litestar.openapi.plugins import OpenAPIRenderPlugin
from pydantic import BaseModel, RootModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api.http import performance as performance_figures
from api.http import schemas
from api.http.errors import PROBLEM_JSON, AnyRequest
from api.http.routes import (
    bots,
    entries,
    exits,
    freqtrade,
    health,
    journal,
    limits,
    lots,
    modes,
    orders,
    performance,
    portfolio,
    signals,
    targets,
    trades,
    trading,
)
from api.http.schemas import Answer, Page, ProblemAnswer, Request
from ledger.entries import kinds
from ledger.values import decimal_text, time_text

DECIMAL: Final[JsonSchemaValue] = {"type": "string", "pattern": r"^[+-]?(\d+\.?\d*|\.\d+)$"}
TIME: Final[JsonSchemaValue] = {"type": "string", "format": "date-time"}
SCHEMAS: Final = (
    schemas,
    performance_figures,
    kinds,
    bots,
    entries,
    exits,
    freqtrade,
    health,
    journal,
    limits,
    lots,
    modes,
    orders,
    performance,
    portfolio,
    signals,
    targets,
    trades,
    trading,
)
"""Modules that define what is received and sent."""
FAMILIES: Final = (Request, Answer, Page, kinds.Entry)
"""Base classes, never sent themselves."""
INCOMING: Final = (Request, RootModel, kinds.Entry)
"""Received; all others are sent."""

ORDER: Final = ("as_of", "known_at", "PATH", "Idempotency-Key", "portfolio", "limit", "cursor")
"""Order of an operation's parameters; PATH are those in the path, all others come last."""

OPEN_TO_ALL: Final = {
    500: "An unexpected error, written to the server's log",
    503: "The database, a venue, the market or freqtrade cannot be reached",
}
READS: Final = {
    400: "The request is malformed; nothing was done",
    401: "The owner's token, the key or the signature is missing or wrong",
    403: "The key lacks the required scope",
    404: "No such resource, or no such portfolio",
    421: "The Host header does not name this machine",
}
COMMANDS: Final = {
    409: "Conflict with the current state or portfolio, or the first request is still running",
    413: "The body is larger than 256 KiB",
    422: "The request is well-formed but rejected; `type` identifies the rule",
}


class OpenApiDocument(OpenAPIRenderPlugin):
    """Serves the OpenAPI document at /api/schema/openapi.json."""

    def __init__(self) -> None:
        super().__init__(path=["/openapi.json", "/"], media_type=MediaType.JSON)

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        return json.dumps(document(openapi_schema), ensure_ascii=False).encode()


def document(made: Mapping[str, Any]) -> dict[str, Any]:
    """Complete Litestar's document with our schemas, summaries and errors."""
    own = copy.deepcopy(dict(made))
    own["components"]["schemas"] = component_schemas()
    for path in own["paths"].values():
        for method, operation in path.items():
            _complete(operation, method)
    return own


def component_schemas() -> dict[str, Any]:
    """Schemas of everything received and sent: decimals and times are text."""
    found = ((module, *member) for module in SCHEMAS for member in getmembers(module, isclass))
    # Pydantic adds its specialisations of a generic model to the module, under a name with brackets.
    own = [model for module, name, model in found if model.__module__ == module.__name__ and name.isidentifier()]
    models = [model for model in own if issubclass(model, BaseModel) and model not in FAMILIES]
    incoming = [(model, "validation") for model in models if issubclass(model, INCOMING)]
    outgoing = [(model, "serialization") for model in models if not issubclass(model, INCOMING)]
    _, made = models_json_schema(
        [*incoming, *outgoing],  # type: ignore[list-item]  # the modes are the two literals above
        ref_template="#/components/schemas/{model}",
        schema_generator=_AsText,
    )
    return dict(made["$defs"])


class _AsText(GenerateJsonSchema):
    """Describes decimals and times as text in both directions, whatever else pydantic accepts."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        return dict(DECIMAL)

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        function = schema.get("function")
        if function is decimal_text:
            return dict(DECIMAL)
        return dict(TIME) if function is time_text else super().ser_schema(schema)


def _complete(operation: dict[str, Any], method: str) -> None:
    """Add the summary, the required key and the errors of the operation."""
    first, _, rest = operation.pop("description", "").partition("\n")
    operation["summary"] = first.rstrip(".")
    if rest.strip():
        operation["description"] = " ".join(rest.split())
    operation.get("parameters", []).sort(key=_rank)
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "Idempotency-Key":
            parameter |= {"required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
            parameter["description"] = (
                "Unique name of this request: a repeat returns the first answer and does nothing."
            )
        if parameter["name"] == "limit":
            parameter["schema"] |= {"minimum": 1, "maximum": 500}
    operation["responses"].pop("400", None)
    for status, answer in operation["responses"].items():
        answer["description"] = HTTPStatus(int(status)).phrase
    operation["responses"] |= {str(status): _problem(status, text) for status, text in _errors(operation, method)}


def _rank(parameter: Mapping[str, Any]) -> int:
    name = "PATH" if parameter["in"] == "path" else parameter["name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _errors(operation: dict[str, Any], method: str) -> list[tuple[int, str]]:
    found = dict(OPEN_TO_ALL)
    if operation.get("security"):
        found |= READS
        if method != "get":
            found |= COMMANDS
    return [(status, text) for status, text in sorted(found.items()) if str(status) not in operation["responses"]]


def _problem(status: int, text: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    return {"description": f"{HTTPStatus(status).phrase}: {text}", "content": {PROBLEM_JSON: {"schema": reference}}}
