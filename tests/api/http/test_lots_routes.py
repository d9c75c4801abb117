"""The lots of a portfolio over HTTP, by any method. Every answer is held to the OpenAPI document besides."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.http.routes.lots import LotsAnswer
from ledger.reports.lot_methods import Method
from ledger.reports.lots import View, portfolio_lots_report
from ledger.values import decimal_text
from tests.support.api_system import Daybook, open_daybook, problem_of
from tests.support.events import Story, realistic_batches, record_all


@pytest.fixture
def story() -> Story:
    return Story("told", allow_short=True)


@pytest.fixture
def daybook(database_url: str, tmp_path: Path, story: Story) -> Iterator[Daybook]:
    """A Daybook that also knows a portfolio with a whole story."""
    with open_daybook(database_url, tmp_path) as running:
        record_all(running.system.book, story, realistic_batches(story, 80))
        yield running


def lots(daybook: Daybook, **parameters: object) -> Any:
    return daybook.read("portfolio/lots", portfolio="told", **parameters)


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo"])
def test_the_lots_are_those_of_the_rows(daybook: Daybook, story: Story, method: str) -> None:
    """Each method answers what the report says of the same rows, and names itself; FIFO is the one unless asked."""
    with daybook.system.book.reading(story.portfolio_id) as reading:
        expected = portfolio_lots_report(reading.rows, View(Method(method)))

    answer = lots(daybook, method=method)

    assert answer == LotsAnswer.model_validate(expected).model_dump(mode="json")
    assert [(one["id"], one["cost_basis"]) for one in answer["sells"]] == [
        (one.id, None if one.cost_basis is None else decimal_text(one.cost_basis)) for one in expected.sells
    ]
    assert answer["method"] == method
    assert answer["sells"]
    assert lots(daybook) == lots(daybook, method="fifo")


def test_a_holding_period_gives_terms(daybook: Daybook) -> None:
    """With a holding period every match has a term, with none it has none."""
    for days, terms in ((0, {"long", "short"}), (36_500, {"short"})):
        matches = [match for sell in lots(daybook, holding_period=days)["sells"] for match in sell["matches"]]
        assert {match["term"] for match in matches} <= terms
        assert matches
    assert {match["term"] for sell in lots(daybook)["sells"] for match in sell["matches"]} == {None}


def test_one_product_is_a_part_of_all(daybook: Daybook) -> None:
    """With product_id the answer is what the whole one says of that product."""
    whole = lots(daybook)
    for product_id, total in whole["totals"].items():
        part = lots(daybook, product_id=product_id)
        assert part["totals"] == {product_id: total}
        assert part["sells"] == [sell for sell in whole["sells"] if sell["instrument"] == product_id]
        assert part["open_lots"] == [lot for lot in whole["open_lots"] if lot["instrument"] == product_id]


def test_the_totals_are_those_of_the_positions(daybook: Daybook) -> None:
    """What the book says of a position is what its lots add up to."""
    for product_id, total in lots(daybook)["totals"].items():
        position = daybook.read(f"portfolio/positions/{product_id}", portfolio="told")["position"]
        assert (total["realized_pnl"], total["open_cost_basis"]) == (position["realized_pnl"], position["cost_basis"])


def test_the_past_has_its_own_lots(daybook: Daybook, story: Story) -> None:
    """As of a time in the middle of the story only what had happened by then is there."""
    middle = story.events[len(story.events) // 2].occurred_at

    then = lots(daybook, as_of=middle.isoformat())

    assert all(sell["time"] <= middle.isoformat().replace("+00:00", "Z") for sell in then["sells"])
    assert len(then["sells"]) < len(lots(daybook)["sells"])


def named(daybook: Daybook, chosen: object, query: str = "portfolio=told") -> Any:
    return daybook.post(f"portfolio/lots/specific?{query}", {"lots": chosen})


def test_named_lots_are_those_of_the_rows(daybook: Daybook, story: Story) -> None:
    """Lots named for a sale cover it, as the report of the same rows says; without names the answer is the book's."""
    sell, lot = newest_lot_of_a_sale(daybook)
    chosen = {sell: [{"lot_id": lot, "quantity": "0.000000000000000001"}]}
    names = {sell: [(lot, Decimal("0.000000000000000001"))]}
    with daybook.system.book.reading(story.portfolio_id) as reading:
        expected = portfolio_lots_report(reading.rows, View(Method.SPECIFIC, names, 365))

    answer = named(daybook, chosen, "portfolio=told&holding_period=365")

    assert answer.status_code == 200
    assert answer.json() == LotsAnswer.model_validate(expected).model_dump(mode="json")
    assert answer.json()["method"] == "specific"
    (found,) = (one for one in answer.json()["sells"] if one["id"] == sell)
    assert found["matches"][0]["lot_id"] == lot
    assert {**named(daybook, {}).json(), "method": "fifo"} == lots(daybook)


def newest_lot_of_a_sale(daybook: Daybook) -> tuple[str, str]:
    """A sale of which the last in would be another lot than the book's, and that lot."""
    book = {sell["id"]: sell for sell in lots(daybook)["sells"]}
    for sell in lots(daybook, method="lifo")["sells"]:
        if sell["kind"] == "trade" and sell["matches"] and sell["matches"] != book[sell["id"]]["matches"]:
            return sell["id"], sell["matches"][0]["lot_id"]
    raise AssertionError("no sale tells the methods apart")


def test_lots_that_cannot_be_named_are_refused(daybook: Daybook) -> None:
    """An id that is none, more than a lot has, and a product that was never held are each told in one sentence."""
    sell, lot = newest_lot_of_a_sale(daybook)
    for chosen, said in (
        ({"no such": [{"lot_id": lot, "quantity": "1"}]}, "no trade 'no such'"),
        ({sell: [{"lot_id": "nor this", "quantity": "1"}]}, "no trade 'nor this'"),
        ({sell: [{"lot_id": lot, "quantity": "1000000000"}]}, f"the lots chosen for {sell!r} must be"),
    ):
        answer = named(daybook, chosen)
        assert (answer.status_code, problem_of(answer)) == (422, "bad-lot")
        assert said in answer.json()["detail"]
    unreadable: list[object] = [{sell: [{"lot_id": lot, "quantity": "0"}]}, {sell: [{"lot_id": lot}]}, []]
    assert {named(daybook, one).status_code for one in unreadable} <= {400, 422}
    assert problem_of(named(daybook, {}, "portfolio=told&product_id=NEVER-USD")) == "unknown-position"
    early = named(daybook, {}, "portfolio=told&known_at=2020-01-01T00:00:00Z")
    assert (early.status_code, problem_of(early)) == (404, "unknown-portfolio")
