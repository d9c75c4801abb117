"""docs/venues.md agrees with the program: facts, faults, routes and the example."""

import re
from pathlib import Path
from typing import Final

import pytest

from execution.exchanges.ccxt.venue_facts import VenueFacts
from execution.exchanges.ccxt.venues import DECLARED
from execution.exchanges.simulated.control import ROUTES
from execution.exchanges.simulated.faults import FAULTS
from execution.exchanges.simulated.server import SimulatedVenue
from ledger.values import system_clock

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "venues.md").read_text(encoding="utf-8")


def table(first: str) -> list[list[str]]:
    """The rows of the table with this first heading."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def row_of(facts: VenueFacts) -> list[str]:
    """The row of a venue."""
    return [
        facts.venue,
        f"`{facts.client_id_parameter}`",
        "never" if facts.id_scope == "lifetime" else "when its order has ended",
        "yes" if facts.resend_safe else "no",
        "not promised" if facts.validity is None else f"{facts.validity.seconds} s",
        ", ".join(facts.sources),
        "base or quote" if facts.base_buys else "quote",
        facts.fee_source,
        facts.trade_id_scope,
    ]


def test_venues_page_lists_every_declared_venue() -> None:
    assert table("venue") == [row_of(facts) for facts in DECLARED.values()]


def test_venues_page_lists_every_fault_and_control_route() -> None:
    assert table("fault") == [[f"`{name}`", text] for name, text in FAULTS.items()]
    assert {row[0].strip("`") for row in table("route")} == {f"{method} {route}" for method, route in ROUTES}


def test_example_of_venues_page_prints_its_comments(capsys: pytest.CaptureFixture[str]) -> None:
    """Against a simulated venue on a free port."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    venue = SimulatedVenue("binance", system_clock)
    try:
        run(example.replace("http://127.0.0.1:8801", venue.url))
    finally:
        venue.stop()
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", example)


def run(program: str) -> None:
    """Run the program of the page."""
    code = compile(program, "docs/venues.md", "exec")
    exec(code, {})  # noqa: S102
