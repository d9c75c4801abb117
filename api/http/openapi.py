"""The OpenAPI 3.1 document: routes as Litestar knows them, schemas as pydantic checks them, and every error as it is sent."""

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

from api.http import (
    bot_schemas,
    entry_schemas,
    exit_schemas,
    lot_schemas,
    order_schemas,
    performance_schemas,
    policy_schemas,
    schemas,
    trading_schemas,
)
from api.http.errors import PROBLEM_JSON, AnyRequest
from api.http.schemas import Answer, Page, ProblemAnswer, Request
from api.runtime import signal_schemas
from ledger.entries import kinds
from ledger.values import decimal_text, time_text

DECIMAL: Final[JsonSchemaValue] = {"type": "string", "pattern": r"^[+-]?(\d+\.?\d*|\.\d+)$"}
TIME: Final[JsonSchemaValue] = {"type": "string", "format": "date-time"}
SCHEMAS: Final = (
    schemas,
    bot_schemas,
    entry_schemas,
    kinds,
    exit_schemas,
    lot_schemas,
    order_schemas,
    performance_schemas,
    policy_schemas,
    signal_schemas,
    trading_schemas,
)
"""The modules that say what goes in and out."""

FAMILIES: Final = (Request, Answer, Page, kinds.Entry)
"""What others are made from; they are never sent themselves."""
INCOMING: Final = (Request, RootModel, kinds.Entry)
"""What is read; all else is written."""

OPEN_TO_ALL: Final = {
    500: "An unexpected error, written to the server's log",
    503: "The database, or the freqtrade that is asked, cannot be reached",
}
READS: Final = {
    400: "The request cannot be understood; nothing was done",
    401: "The owner's token, the key or the signature is missing or wrong",
    403: "The key does not have the scope that this needs",
    404: "There is no such thing, or no such portfolio",
    421: "The Host header does not name this machine",
}
COMMANDS: Final = {
    409: "Something else is in the way: another state, another portfolio, or the first request is still running",
    413: "The body is larger than 256 KiB",
    422: "The request is understood and refused; `type` says by which rule",
}


class OpenApiDocument(OpenAPIRenderPlugin):
    """What the application answers, as an OpenAPI document at /api/schema/openapi.json."""

    def __init__(self) -> None:
        super().__init__(path=["/openapi.json", "/"], media_type=MediaType.JSON)

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        return json.dumps(document(openapi_schema), ensure_ascii=False).encode()


def document(made: Mapping[str, Any]) -> dict[str, Any]:
    """Litestar's document with our own schemas, and every operation complete."""
    own = copy.deepcopy(dict(made))
    own["components"]["schemas"] = component_schemas()
    for path in own["paths"].values():
        for method, operation in path.items():
            _complete(operation, method)
    return own


def component_schemas() -> dict[str, Any]:
    """The schemas of all that goes in and out: decimals and times are text."""
    found = ((module, *member) for module in SCHEMAS for member in getmembers(module, isclass))
    # What pydantic makes of a generic model lies in its module too, under a name with brackets.
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
    """Decimals and times are text on both ways, whatever pydantic would take besides."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        return dict(DECIMAL)

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        function = schema.get("function")
        if function is decimal_text:
            return dict(DECIMAL)
        return dict(TIME) if function is time_text else super().ser_schema(schema)


def _complete(operation: dict[str, Any], method: str) -> None:
    """The operation has its sentence, its required key and its errors."""
    first, _, rest = operation.pop("description", "").partition("\n")
    operation["summary"] = first.rstrip(".")
    if rest.strip():
        operation["description"] = " ".join(rest.split())
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "Idempotency-Key":
            parameter |= {"required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
            parameter["description"] = "Your own name for this request: sent again, it is answered and not done again."
        if parameter["name"] == "limit":
            parameter["schema"] |= {"minimum": 1, "maximum": 500}
    operation["responses"].pop("400", None)
    for status, answer in operation["responses"].items():
        answer["description"] = HTTPStatus(int(status)).phrase
    operation["responses"] |= {str(status): _problem(status, said) for status, said in _errors(operation, method)}


def _errors(operation: dict[str, Any], method: str) -> list[tuple[int, str]]:
    found = dict(OPEN_TO_ALL)
    if operation.get("security"):
        found |= READS
        if method != "get":
            found |= COMMANDS
    return [(status, said) for status, said in sorted(found.items()) if str(status) not in operation["responses"]]


def _problem(status: int, said: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    return {"description": f"{HTTPStatus(status).phrase}: {said}", "content": {PROBLEM_JSON: {"schema": reference}}}
