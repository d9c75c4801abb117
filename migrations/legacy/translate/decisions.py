"""Decisions of the user on ambiguous rows, a JSON file.

    {"trades": {"17": {"unit": "base"}, "18": {"side": "BUY"}, "19": {"action": "archive"}}}

Each row key maps to corrected columns, as text; to `unit`, the unit of its size (base or quote); and to `action`: import
(it happened and is no duplicate), archive (it did not happen: keep the row, without effect) or replace (the row changed
after its import: reverse the old trade and import the new one). The key "*" sets the `unit` of all rows of the table for
which it is ambiguous, such as those of generations that did not store size_usd.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.errors import DaybookError
from migrations.legacy.read.schema import TRANSLATED

Decided = Mapping[str, str]
Decisions = Mapping[str, Mapping[str, Decided]]
UNDECIDED: Final[Decisions] = {}
NOTHING: Final[Decided] = {}
ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {"unit": ("base", "quote"), "action": ("import", "archive", "replace")}


EVERY: Final = "*"
ELSE: Final = "unit_else"
"""Key of the table-wide unit in the decision on a row."""


class BadDecisions(DaybookError):
    """An unusable file of decisions. The text gives the place and the reason."""


def read_decisions(path: Path) -> Decisions:
    """Read the decisions in a file. Raises BadDecisions."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadDecisions(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadDecisions(f"{path} is not valid JSON ({error}): correct it") from None
    return checked(found, str(path))


def checked(found: object, name: str) -> Decisions:
    """Validate the content of a file of decisions; `name` is used in messages. Raises BadDecisions."""
    for table, rows in _object(found, name).items():
        if table not in TRANSLATED:
            raise BadDecisions(f"{name}: unknown table {table!r} (allowed: {', '.join(TRANSLATED)})")
        for key, fields in _object(rows, f"{name}: {table}").items():
            for field, value in _object(fields, f"{name}: {table} {key}").items():
                if not isinstance(value, str):
                    raise BadDecisions(f"{name}: {table} {key}: {field} must be text in quotes")
                if key == EVERY and field != "unit":
                    raise BadDecisions(f"{name}: {table} {EVERY}: only unit can be set for all rows, not {field}")
                if field in ALLOWED and value not in ALLOWED[field]:
                    wanted = ", ".join(ALLOWED[field])
                    raise BadDecisions(f"{name}: {table} {key}: {field} must be one of {wanted}, not {value!r}")
    return dict(_object(found, name))  # type: ignore[arg-type]  # its shape was checked above


def merged(earlier: Decisions, later: Decisions) -> Decisions:
    """Merge two sets of decisions; `later` wins."""
    return {table: {**earlier.get(table, {}), **later.get(table, {})} for table in {**earlier, **later}}


def decision_of(decisions: Decisions, table: str, key: str) -> Decided:
    """Return the decision on a row."""
    of_table = decisions.get(table, NOTHING_OF_TABLE)
    found = of_table.get(key, NOTHING)
    return {ELSE: of_table[EVERY]["unit"], **found} if EVERY in of_table else found


NOTHING_OF_TABLE: Final[Mapping[str, Decided]] = {}


def _object(found: object, name: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise BadDecisions(f"{name} must be a JSON object of tables, row keys and decisions")
    return found
