"""Lots over HTTP, by every method."""

from decimal import Decimal
from typing import Any

import pytest

from api.http.routes.lots import LotsAnswer
from ledger.reports.lot_methods import Method
from ledger.reports.lots import View, portfolio_lots_report
from ledger.values import decimal_text
from tests.support.api_system import Daybook, problem_of
from tests.support.events import Story, realistic_batches, record_all


@pytest.fixture(scope="module")
def story() -> Story:
    return Story("lots", allow_short=True)


@pytest.fixture(scope="module")
def daybook(shared_daybook: Daybook, story: Story) -> Daybook:
    """A Daybook with a portfolio of many events."""
    record_all(shared_daybook.system.book, story, realistic_batches(story, 80))
    return shared_daybook


def lots(daybook: Daybook, **parameters: object) -> Any:
    return daybook.read("portfolio/lots", portfolio="lots", **parameters)


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo"])
def test_lots_equal_the_report_of_the_same_rows(daybook: Daybook, story: Story, method: str) -> None:
    """FIFO is the default."""
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


def test_lots_matches_have_terms_when_a_holding_period_is_given(daybook: Daybook) -> None:
    for days, terms in ((0, {"long", "short"}), (36_500, {"short"})):
        matches = [match for sell in lots(daybook, holding_period=days)["sells"] for match in sell["matches"]]
        assert {match["term"] for match in matches} <= terms
        assert matches
    assert {match["term"] for sell in lots(daybook)["sells"] for match in sell["matches"]} == {None}


def test_lots_of_one_product_are_a_part_of_all_lots(daybook: Daybook) -> None:
    whole = lots(daybook)
    for product_id, total in whole["totals"].items():
        part = lots(daybook, product_id=product_id)
        assert part["totals"] == {product_id: total}
        assert part["sells"] == [sell for sell in whole["sells"] if sell["instrument"] == product_id]
        assert part["open_lots"] == [lot for lot in whole["open_lots"] if lot["instrument"] == product_id]


def test_lots_totals_equal_the_positions(daybook: Daybook) -> None:
    for product_id, total in lots(daybook)["totals"].items():
        position = daybook.read(f"portfolio/positions/{product_id}", portfolio="lots")["position"]
        assert (total["realized_pnl"], total["open_cost_basis"]) == (position["realized_pnl"], position["cost_basis"])


def test_lots_cover_only_earlier_events_when_as_of_is_given(daybook: Daybook, story: Story) -> None:
    middle = story.events[len(story.events) // 2].occurred_at

    then = lots(daybook, as_of=middle.isoformat())

    assert all(sell["time"] <= middle.isoformat().replace("+00:00", "Z") for sell in then["sells"])
    assert len(then["sells"]) < len(lots(daybook)["sells"])


def named(daybook: Daybook, chosen: object, query: str = "portfolio=lots") -> Any:
    return daybook.post(f"portfolio/lots/specific?{query}", {"lots": chosen})


def test_chosen_lots_equal_the_report_of_the_same_rows(daybook: Daybook, story: Story) -> None:
    """Without choices the result is the book."""
    sell, lot = newest_lot_of_a_sale(daybook)
    chosen = {sell: [{"lot_id": lot, "quantity": "0.000000000000000001"}]}
    names = {sell: [(lot, Decimal("0.000000000000000001"))]}
    with daybook.system.book.reading(story.portfolio_id) as reading:
        expected = portfolio_lots_report(reading.rows, View(Method.SPECIFIC, names, 365))

    answer = named(daybook, chosen, "portfolio=lots&holding_period=365")

    assert answer.status_code == 200
    assert answer.json() == LotsAnswer.model_validate(expected).model_dump(mode="json")
    assert answer.json()["method"] == "specific"
    (found,) = (one for one in answer.json()["sells"] if one["id"] == sell)
    assert found["matches"][0]["lot_id"] == lot
    assert {**named(daybook, {}).json(), "method": "fifo"} == lots(daybook)


def newest_lot_of_a_sale(daybook: Daybook) -> tuple[str, str]:
    """A sale that LIFO matches with another lot than the book, and that lot."""
    book = {sell["id"]: sell for sell in lots(daybook)["sells"]}
    for sell in lots(daybook, method="lifo")["sells"]:
        if sell["kind"] == "trade" and sell["matches"] and sell["matches"] != book[sell["id"]]["matches"]:
            return sell["id"], sell["matches"][0]["lot_id"]
    raise AssertionError("no sale differs between the methods")


def test_chosen_lots_are_rejected_when_unknown_or_too_large(daybook: Daybook) -> None:
    sell, lot = newest_lot_of_a_sale(daybook)
    for chosen, words in (
        ({"no such": [{"lot_id": lot, "quantity": "1"}]}, "no trade 'no such'"),
        ({sell: [{"lot_id": "nor this", "quantity": "1"}]}, "no trade 'nor this'"),
        ({sell: [{"lot_id": lot, "quantity": "1000000000"}]}, f"the lots chosen for {sell!r} must be"),
    ):
        answer = named(daybook, chosen)
        assert (answer.status_code, problem_of(answer)) == (422, "bad-lot")
        assert words in answer.json()["detail"]
    unreadable: list[object] = [{sell: [{"lot_id": lot, "quantity": "0"}]}, {sell: [{"lot_id": lot}]}, []]
    assert {named(daybook, one).status_code for one in unreadable} <= {400, 422}
    assert problem_of(named(daybook, {}, "portfolio=lots&product_id=NEVER-USD")) == "unknown-position"
    early = named(daybook, {}, "portfolio=lots&known_at=2020-01-01T00:00:00Z")
    assert (early.status_code, problem_of(early)) == (404, "unknown-portfolio")
