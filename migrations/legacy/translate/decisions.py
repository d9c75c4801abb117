"""Decisions: a small JSON file that says what no arithmetic can tell.

    {"trades": {"17": {"unit": "base"}, "18": {"side": "BUY"}, "19": {"action": "archive"}}}

Under the key of a row stand values for its columns, as text; `unit` (base or quote) says what its size is in, `action`
import (it happened, and is no duplicate), archive (it did not: keep the row, without effect) or replace (it was imported
before it changed: take that back and enter it as it is now). The row "*" says a `unit` for all rows of the table that
leave theirs open, such as those of a generation that did not write size_usd.
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
"""What a row's decision says where only its table has one."""


class BadDecisions(DaybookError):
    """The file of decisions cannot be used; the text says where and why."""


def read_decisions(path: Path) -> Decisions:
    """The decisions in the file. Raises BadDecisions."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadDecisions(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadDecisions(f"{path} is not valid JSON ({error}): correct it") from None
    return checked(found, str(path))


def checked(found: object, name: str) -> Decisions:
    """The value of a file of decisions. Raises BadDecisions."""
    for table, rows in _object(found, name).items():
        if table not in TRANSLATED:
            raise BadDecisions(f"{name}: {table!r} is none of the tables {', '.join(TRANSLATED)}")
        for key, fields in _object(rows, f"{name}: {table}").items():
            for field, value in _object(fields, f"{name}: {table} {key}").items():
                if not isinstance(value, str):
                    raise BadDecisions(f"{name}: {table} {key}: {field} must be text in quotes")
                if key == EVERY and field != "unit":
                    raise BadDecisions(f"{name}: {table}: a decision for every row can only say its unit, not {field}")
                if field in ALLOWED and value not in ALLOWED[field]:
                    wanted = ", ".join(ALLOWED[field])
                    raise BadDecisions(f"{name}: {table} {key}: {field} is {value!r}, but must be one of {wanted}")
    return dict(_object(found, name))  # type: ignore[arg-type]  # its shape was looked at just now


def merged(earlier: Decisions, later: Decisions) -> Decisions:
    """Both; a row that both decide is as `later` says."""
    return {table: {**earlier.get(table, {}), **later.get(table, {})} for table in {**earlier, **later}}


def decision_of(decisions: Decisions, table: str, key: str) -> Decided:
    """What was decided for the row."""
    of_table = decisions.get(table, NOTHING_OF_TABLE)
    found = of_table.get(key, NOTHING)
    return {ELSE: of_table[EVERY]["unit"], **found} if EVERY in of_table else found


NOTHING_OF_TABLE: Final[Mapping[str, Decided]] = {}


def _object(found: object, name: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise BadDecisions(f"{name} must be a JSON object: tables, keys of rows, and what is decided for them")
    return found
