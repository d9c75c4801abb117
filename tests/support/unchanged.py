"""Comparison of the program with recorded results, which `tests/stories/test_unchanged.py` uses.

Whatever differs from run to run (ids made at random, the time of recording and hashes that contain it, paths, ports) and
every sentence written for people is replaced by a placeholder; everything else has to stay as it was recorded.
"""

import ast
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any, Final

import rich_click as click

from tests.support.commands import ROOT

RECORDS: Final = ROOT / "tests" / "samples" / "unchanged"
RECORDING: Final = "RECORD"
"""The environment variable with which the results of this run are recorded."""

_TODAY: Final = datetime.now(UTC) - timedelta(days=1)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_RANDOM_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SENTENCES: Final = frozenset(
    {"detail", "note", "notes", "reason", "said", "why", "error", "message", "description", "summary", "problem"}
)
_NAMES: Final = frozenset({"format", "command", "asked", "file", "name"})
"""Members whose text is compared whatever its length."""
_PROSE: Final = re.compile(r"\S*[a-z,:]+ +\S+ +\S+ +\S+", re.IGNORECASE)
"""Four words or more."""


class Scrubber:
    """Replaces what differs from run to run; ids made at random are numbered as they appear."""

    def __init__(self, replaced: Mapping[str, str], omitted: Iterable[str] = ()) -> None:
        self._replaced = replaced
        self._omitted = frozenset(omitted)
        self.omitted: list[str] = []
        self._ids: dict[str, str] = {}

    def value(self, found: Any, key: str = "") -> Any:
        """The JSON value with placeholders, its keys and its types unchanged."""
        if isinstance(found, dict) and key == "ignored":  # counted by sentences
            return sorted(found.values())
        if isinstance(found, dict):
            return {self.text(name): self.value(one, name) for name, one in found.items()}
        if isinstance(found, list):
            return [self.value(one, key) for one in found]
        if key in self._omitted and found is not None:
            self.omitted.append(f"{key} {found}")
            return f"<{key}>"
        if not isinstance(found, str):
            return found
        if found[:1] in ("{", "[") and found[-1:] in ("}", "]"):
            return self.nested(found)
        if (key in _SENTENCES and found) or (key not in _NAMES and _PROSE.match(found)):
            return "<text>"
        return self.text(found)

    def nested(self, found: str) -> Any:
        """JSON inside a text, such as the payload of an event."""
        try:
            inner = json.loads(found)
        except ValueError:
            return self.text(found)
        return {"<json>": self.value(inner)}

    def text(self, found: str) -> str:
        for was, placeholder in self._replaced.items():
            found = found.replace(was, placeholder)
        return _RANDOM_ID.sub(self._id, _TIME.sub(_recent, found))

    def _id(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found[0], f"<id {len(self._ids) + 1}>")


def _recent(found: re.Match[str]) -> str:
    """A placeholder for a time of this run; times of the fixtures are kept."""
    return "<time>" if datetime.fromisoformat(found[0]) > _TODAY else found[0]


def compare(name: str, found: Any) -> None:
    """Compare with the recorded result, or record it. Raises AssertionError with the first differences by path."""
    path = RECORDS / f"{name}.json"
    text = json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if os.environ.get(RECORDING):
        RECORDS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    recorded = json.loads(path.read_text(encoding="utf-8"))
    faults = list(differences(recorded, json.loads(text)))
    assert not faults, f"{len(faults)} differences from {path.name}:\n" + "\n".join(faults[:20])


def differences(recorded: Any, found: Any, where: str = "") -> Iterator[str]:
    """Each difference as one line with its path."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for name in sorted(recorded.keys() | found.keys()):
            if name not in found:
                yield f"{where}/{name}: missing"
            elif name not in recorded:
                yield f"{where}/{name}: not recorded"
            else:
                yield from differences(recorded[name], found[name], f"{where}/{name}")
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            yield f"{where}: {len(found)} elements, recorded are {len(recorded)}"
        for number, (old, new) in enumerate(zip(recorded, found, strict=False)):
            yield from differences(old, new, f"{where}/{number}")
    elif type(recorded) is not type(found) or recorded != found:
        yield f"{where}: {found!r:.200}, recorded is {recorded!r:.200}"


# --- the log ----------------------------------------------------------------------------------------------------------


def log_facts(lines: Iterable[Mapping[str, Any]], scrubber: Scrubber, *, exact: bool = True) -> dict[str, Any]:
    """Facts of a log of events in the form of `daybook export events`; `exact` where clock and ids were handed in."""
    events = list(lines)
    content = hashlib.sha256()
    rules: Counter[str] = Counter()
    for event in events:
        payload = json.loads(event["payload"])
        stable = {name: value for name, value in event.items() if name not in ("hash", "recorded_at", "portfolio_id")}
        content.update(json.dumps(scrubber.value(stable), sort_keys=True).encode())
        rules.update(f"{rule['rule']} {rule['passed']}" for rule in payload.get("rules", ()))
    facts: dict[str, Any] = {
        "events": len(events),
        "by_type": Counter(f"{event['type']} {event['version']}" for event in events),
        "rules": rules,
        "content_without_sentences": content.hexdigest(),
    }
    return facts | {"end_of_chain": events[-1]["hash"]} if exact else facts


def log_lines(envelopes: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The envelopes of a log in memory, in the form of `daybook export events`."""
    for one in envelopes:
        yield {
            **{name: getattr(one, name) for name in ("position", "type", "version", "actor", "payload", "metadata")},
            **{name: str(getattr(one, name)) for name in ("event_id", "correlation_id", "causation_id")},
            "occurred_at": one.occurred_at.isoformat(),
            "hash": one.hash.hex(),
        }


# --- what the program declares ----------------------------------------------------------------------------------------


def without_prose(document: Any) -> Any:
    """An OpenAPI document or a JSON schema without its texts; members of `properties` keep their names."""
    if isinstance(document, list):
        return [without_prose(one) for one in document]
    if not isinstance(document, dict):
        return document
    kept = {}
    for name, value in document.items():
        if name in ("properties", "schemas", "paths", "$defs") and isinstance(value, dict):
            kept[name] = {inner: without_prose(one) for inner, one in value.items()}
        elif name not in ("description", "summary", "title", "example", "examples"):
            kept[name] = without_prose(value)
    return kept


def event_schema(schema: Any, parts: Mapping[str, Any] | None = None) -> Any:
    """A JSON schema without texts, in which parts are written out: the names of their classes are the program's own."""
    known = schema.get("$defs", {}) if parts is None else parts
    if isinstance(schema, list):
        return [event_schema(one, known) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return event_schema(known[schema["$ref"].rpartition("/")[2]], known)
    return {name: event_schema(one, known) for name, one in without_prose(schema).items() if name != "$defs"}


def command_tree() -> dict[str, Any]:
    """Every command with its options and arguments, by name."""
    (script,) = entry_points(group="console_scripts", name="daybook")
    groups = [value for value in script.load().__globals__.values() if isinstance(value, click.Group)]
    (cli,) = [group for group in groups if {"serve", "replay"} <= set(group.commands)]
    return dict(_commands("daybook", cli))


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, Any]]:
    yield name, [_parameter(one) for one in command.params]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            _, one, _ = command.resolve_command(context, [inner])
            assert one is not None
            yield from _commands(f"{name} {inner}", one)


def _parameter(one: click.Parameter) -> dict[str, Any]:
    choices = list(one.type.choices) if isinstance(one.type, click.Choice) else None
    names = sorted([*one.opts, *one.secondary_opts])
    return {"names": names, "required": one.required, "multiple": one.multiple, "nargs": one.nargs, "choices": choices}


def problem_types() -> list[str]:
    """The recorded problem types that the product's source still contains as a text, wherever its modules lie."""
    recorded = json.loads((RECORDS / "names.json").read_text(encoding="utf-8"))["problems"]
    packages = [one.parent for one in ROOT.glob("*/__init__.py") if one.parent.name not in ("tests", "bench")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for package in packages for path in package.rglob("*.py"))
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return [kind for kind in recorded if kind in texts or kind.rstrip("*") in texts]


def rule_names() -> list[str]:
    """The rules of the review, as the table in docs/review.md has them."""
    page = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)`", page, re.MULTILINE)
