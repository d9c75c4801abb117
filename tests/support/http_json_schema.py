"""Validation of JSON against the part of JSON Schema (2020-12) that our OpenAPI 3.1 document uses."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

JsonSchema = Mapping[str, Any]

KNOWN: Final = {
    *("$ref", "anyOf", "oneOf", "type", "enum", "const", "pattern", "format", "properties", "required"),
    *("additionalProperties", "items", "minimum", "maximum", "minLength", "maxLength"),
    *("title", "description", "default", "examples", "$defs", "discriminator"),
}
TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def faults(value: object, schema: JsonSchema, document: Mapping[str, Any]) -> list[str]:
    """Faults of `value`. Objects must not have fields that their schema does not name.

    Raises ValueError for a schema with an unsupported keyword.
    """
    return list(_faults(value, schema, document, "$"))


def _faults(value: object, schema: JsonSchema, document: Mapping[str, Any], where: str) -> Iterator[str]:
    if unknown := set(schema) - KNOWN:
        raise ValueError(f"{where}: unsupported keywords {sorted(unknown)}")
    if "$ref" in schema:
        yield from _faults(value, _referred(schema["$ref"], document), document, where)
        return
    for word in ("anyOf", "oneOf"):
        if word in schema and not any(not list(_faults(value, one, document, where)) for one in schema[word]):
            yield f"{where}: {value!r} fits none of {schema[word]}"
    yield from _plain(value, schema, where)
    if isinstance(value, dict):
        yield from _object(value, schema, document, where)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _faults(item, schema["items"], document, f"{where}[{index}]")


def _plain(value: object, schema: JsonSchema, where: str) -> Iterator[str]:
    if "type" in schema and not TYPES[schema["type"]](value):
        yield f"{where}: {value!r} is no {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value!r} does not match {schema['pattern']}"
        yield from _format(value, schema.get("format"), where)


def _format(value: str, name: str | None, where: str) -> Iterator[str]:
    if name == "uuid" and str(UUID(value)) != value:
        yield f"{where}: {value!r} is no UUID"
    if name == "date-time" and (not value.endswith("Z") or datetime.fromisoformat(value).utcoffset() is None):
        yield f"{where}: {value!r} is no time in UTC"


def _object(value: Mapping[str, Any], schema: JsonSchema, document: Mapping[str, Any], where: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", "properties" not in schema)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}: {name} is missing"
    for name, part in value.items():
        if name in properties:
            yield from _faults(part, properties[name], document, f"{where}.{name}")
        elif isinstance(others, Mapping):
            yield from _faults(part, others, document, f"{where}.{name}")
        elif not others and schema:
            yield f"{where}: {name} is not described"


def _referred(reference: str, document: Mapping[str, Any]) -> JsonSchema:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    schema: JsonSchema = found
    return schema
