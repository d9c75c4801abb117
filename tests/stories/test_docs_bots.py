"""docs/bots-built-in.md agrees with the program."""

import json
import re
from pathlib import Path

from signals.registry import BUILT_IN, parameters_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bots-built-in.md").read_text(encoding="utf-8")


def rows(first: str, heading: str) -> list[list[str]]:
    """The rows of the table with these first two headings."""
    lines = PAGE[PAGE.index(f"| {first} | {heading} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_bots_page_lists_every_bot_with_its_parameters() -> None:
    """In the table of parameters and in the table of results."""
    documented = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows("kind", "parameters")}
    assert documented == {kind: list(bot.Params.model_fields) for kind, bot in BUILT_IN.items()}
    assert {row[0].strip("`") for row in rows("kind", "random walks, no costs")} == set(BUILT_IN)


def test_example_of_bots_page_is_valid() -> None:
    examples = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
    assert len(examples) == 1
    for text in examples:
        assert parameters_of("combined", text).model_dump(mode="json")["components"][1]["kind"] == "multi_timeframe"
        assert json.loads(text)


def test_parameters_of_built_in_bots_have_descriptions() -> None:
    for bot in BUILT_IN.values():
        for schema in (found := bot.Params.model_json_schema(), *found.get("$defs", {}).values()):
            for name, field in schema.get("properties", {}).items():
                assert field.get("description"), f"{bot.kind}: {name}"
