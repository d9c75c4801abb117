"""Manual entries over HTTP: changes, rejections and reversals."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from api.runtime import market_time
from ledger.entries import recording
from ledger.events import OpeningLotRecorded
from ledger.log.envelope import NewEvent
from ledger.projections.holdings import HoldingsProjection
from ledger.values import Asset, derived_id, utc_time
from tests.support.api_system import BUY, Daybook, open_daybook, problem_of

ACCOUNTS: Final = [
    {"account": "bank", "venue": "kraken", "mode": "live"},
    {"account": "wallet", "venue": "own", "mode": "live"},
]
NOWHERE: Final = "00000000-0000-0000-0000-000000000000"
CASH: Final = {"kind": "cash_deposit", "account": "bank", "amount": "1000"}
BTC: Final = {"account": "bank", "asset": "BTC"}
LOT: Final = {"kind": "asset_deposit", **BTC, "quantity": "2", "cost": "300"}
BTC_FILL: Final = {"account": "bank", "venue_trade_id": "7", "product_id": "BTC-USD", "side": "buy"}
FILL: Final = {
    "kind": "trade",
    **BTC_FILL,
    "quantity": "2",
    "price": "100",
    "fees": [{"asset": "USD", "amount": "1.5"}],
}
SALE: Final = FILL | {"venue_trade_id": "8", "side": "sell", "quantity": "1", "price": "180", "fees": []}
YEARS_AGO: Final = "2020-01-02T03:04:05Z"


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook after two minutes of its market, with a second portfolio "mine"."""
    daybook.pass_seconds(2)
    opened(daybook, "mine")
    return daybook


def opened(daybook: Daybook, name: str, **other: object) -> dict[str, Any]:
    """A new portfolio with two accounts."""
    body = {"name": name, "base_currency": "USD", "accounts": ACCOUNTS} | other
    answer = daybook.post("portfolios", body, f"open {name}")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def enter(daybook: Daybook, entry: dict[str, Any], key: str, name: str | None = "mine") -> dict[str, Any]:
    """Record an entry."""
    answer = daybook.post(f"portfolio/entries{query(name)}", entry, key)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def reverse(daybook: Daybook, event_id: str, key: str, name: str | None = "mine") -> dict[str, Any]:
    """Reverse an event."""
    answer = daybook.post(f"trades/{event_id}/reverse{query(name)}", {"reason": "mistyped"}, key)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def query(name: str | None) -> str:
    return f"?portfolio={name}" if name else ""


def head(daybook: Daybook, name: str = "mine") -> int:
    return daybook.system.book.log.head(derived_id("portfolio", name)).position


def held(daybook: Daybook, asset: str = "BTC", name: str = "mine") -> dict[str, Any]:
    """Quantity, cost and gain of a position."""
    position = daybook.read(f"portfolio/positions/{asset}-USD", portfolio=name)["position"]
    return {field: position[field] for field in ("quantity", "cost_basis", "realized_pnl")}


def three(quantity: str, cost: str | None, gain: str = "0") -> dict[str, str | None]:
    return {"quantity": quantity, "cost_basis": cost, "realized_pnl": gain}


# --- changes -----------------------------------------------------------------------------------------

CHANGES: Final[list[tuple[str, list[dict[str, Any]], dict[str, str], dict[str, str | None] | None]]] = [
    ("cash in", [CASH], {"cash": "1000"}, None),
    ("cash in, asset given", [CASH | {"asset": "USD"}], {"cash": "1000"}, None),
    ("cash out", [CASH, {"kind": "cash_withdrawal", "account": "bank", "amount": "1.25"}], {"cash": "998.75"}, None),
    ("an asset in", [LOT], {"cash": "0"}, three("2", "300")),
    ("an asset in, its cost unknown", [{"kind": "asset_deposit", **BTC, "quantity": "2"}], {}, three("2", None)),
    ("an asset out", [LOT, {"kind": "asset_withdrawal", **BTC, "quantity": "0.5"}], {}, three("1.5", "225")),
    (
        "a lot from before",
        [{"kind": "opening_lot", **BTC, "quantity": "3", "cost": "9", "occurred_at": YEARS_AGO}],
        {"cash": "0"},
        three("3", "9"),
    ),
    (
        "income in an asset",
        [{"kind": "income", **BTC, "quantity": "0.1", "value": "30", "income_kind": "staking"}],
        {"income": "30", "cash": "0"},
        three("0.1", "30"),
    ),
    (
        "income in cash",
        [{"kind": "income", "account": "bank", "asset": "USD", "quantity": "4", "income_kind": "interest"}],
        {"income": "4", "cash": "4"},
        None,
    ),
    (
        "a transfer",
        [
            *(CASH, LOT),
            {"kind": "transfer", "from_account": "bank", "to_account": "wallet", "asset": "BTC", "quantity": "1"}
            | {"fee": {"asset": "USD", "amount": "2"}},
        ],
        {"cash": "998", "expenses": "2"},
        three("2", "300"),
    ),
    ("a split", [LOT, {"kind": "split", "asset": "BTC", "numerator": 3, "denominator": 2}], {}, three("3", "300")),
    (
        "a fee",
        [CASH, LOT, {"kind": "fee", "account": "bank", "fee": {"asset": "BTC", "amount": "0.5", "value": "100"}}],
        {"cash": "1000", "expenses": "100"},
        three("1.5", "225", "25"),
    ),
    ("a trade", [CASH, FILL], {"cash": "798.5"}, three("2", "201.5")),
    ("two trades", [CASH, FILL, SALE], {"cash": "978.5"}, three("1", "100.75", "79.25")),
    (
        "a trade in another currency",
        [CASH, LOT, FILL | {"product_id": "BTC-EUR", "fees": [], "quote_rate": "1.1"}],
        {"cash": "1000"},
        three("4", "520"),
    ),
]


def test_entries_change_the_portfolio_by_kind(daybook: Daybook) -> None:
    """Cash, income, expenses and the position are as expected, and replay agrees."""
    for number, (label, entries, portfolio, position) in enumerate(CHANGES):
        name = f"p{number}"
        opened(daybook, name)
        for place, entry in enumerate(entries):
            enter(daybook, entry, f"{label} {place}", name)
        found = daybook.read("portfolio", portfolio=name)
        assert {field: found[field] for field in portfolio} == portfolio, label
        assert position is None or held(daybook, name=name) == position, label
        assert found["mode"] == "live"
    assert daybook.post("verification").json()["differences"] == []


def test_entry_answer_has_the_stored_event_and_trade(daybook: Daybook) -> None:
    cash = enter(daybook, CASH | {"occurred_at": YEARS_AGO}, "cash")
    fill = enter(daybook, FILL, "fill")

    assert (cash["event"]["type"], cash["event"]["occurred_at"], cash["trade"]) == ("CashDeposited", YEARS_AGO, None)
    assert daybook.read(f"events/{cash['event']['position']}", portfolio="mine") == cash["event"]
    assert daybook.read("trades", portfolio="mine")["items"] == [fill["trade"]]
    assert (fill["trade"]["venue"], fill["trade"]["reversed"]) == ("kraken", False)
    story = daybook.read(f"trades/{fill['trade']['trade_id']}", portfolio="mine")["story"]
    assert story == [fill["event"]]


def test_position_lists_unmatched_sales_unless_short_lots_are_allowed(daybook: Daybook) -> None:
    opened(daybook, "short", allow_short=True)
    for name in ("mine", "short"):
        sold = enter(daybook, SALE, f"sale {name}", name)["event"]
        found = daybook.read("portfolio/positions/BTC-USD", portfolio=name)
        if name == "mine":
            missing = {"event_id": sold["event_id"], "occurred_at": sold["occurred_at"], "kind": "trade"}
            assert found["unmatched"] == [missing | {"quantity": "1", "proceeds": "180"}]
        else:
            assert (found["unmatched"], [lot["short"] for lot in found["open_lots"]]) == ([], [True])
        assert found["position"]["realized_pnl"] == "0"


@pytest.mark.parametrize("size", [1, 2, 500])
def test_match_pages_add_up_to_all_matches(daybook: Daybook, size: int) -> None:
    """Also where one sale closed several lots."""
    for number in range(4):
        enter(daybook, FILL | {"venue_trade_id": f"b{number}", "fees": []}, f"buy {number}")
    for number, quantity in enumerate(("3", "1", "3.5")):
        sale = {"venue_trade_id": f"s{number}", "quantity": quantity, "occurred_at": None}
        enter(daybook, SALE | sale, f"sell {number}")

    whole = daybook.read("portfolio/positions/BTC-USD", portfolio="mine", limit=500)["matches"]
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = daybook.read("portfolio/positions/BTC-USD", portfolio="mine", limit=size, **cursor)
        found += page["matches"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert found == whole
    assert [match["quantity"] for match in whole] == ["1.5", "2", "1", "1", "2"]
    for cursor in ({"cursor": "1"}, {"cursor": "2020-01-01T00:00:00Z_1_1_1_x"}, {"cursor": "2020-01-01_1_1_1_1"}):
        refused = daybook.get("portfolio/positions/BTC-USD", portfolio="mine", **cursor)
        assert (refused.status_code, problem_of(refused)) == (400, "bad-cursor")


# --- rejections -------------------------------------------------------------------------------------------------

BAD: Final[list[tuple[str, object, int, str, str]]] = [
    ("no kind", {"account": "bank"}, 400, "invalid-request", "kind"),
    ("an unknown kind", {"kind": "gift"}, 400, "invalid-request", "kind"),
    ("a list", [CASH], 400, "invalid-request", "object"),
    ("a field too many", CASH | {"ammount": "1"}, 400, "invalid-request", "ammount"),
    ("a number", CASH | {"amount": 5}, 400, "invalid-request", "quotes"),
    ("nothing", CASH | {"amount": "0"}, 400, "invalid-request", "greater than 0"),
    ("no zone", CASH | {"occurred_at": "2020-01-01T00:00:00"}, 400, "invalid-request", "zone"),
    ("NUL", CASH | {"account": "a\0"}, 400, "invalid-request", "account"),
    ("no base of a split", LOT | {"kind": "split"}, 400, "invalid-request", "numerator"),
    (
        "none of a split",
        {"kind": "split", "asset": "BTC", "numerator": 0, "denominator": 1},
        400,
        "invalid-request",
        "",
    ),
    ("the future", CASH | {"occurred_at": "2999-01-01T00:00:00Z"}, 422, "future-time", "future"),
    ("before any market", CASH | {"occurred_at": "0024-01-01T00:00:00Z"}, 422, "too-early", "1900"),
    (
        "a split that is none",
        {"kind": "split", "asset": "BTC", "numerator": 2, "denominator": 2},
        *(422, "not-bookable", "changes nothing"),
    ),
    (
        "a fee of no trade",
        {"kind": "fee", "account": "bank", "fee": {"asset": "USD", "amount": "1"}, "trade_id": NOWHERE},
        *(422, "unknown-trade", NOWHERE),
    ),
    ("an unknown account", CASH | {"account": "bnak"}, 422, "unknown-account", "bank, wallet"),
    ("other cash", CASH | {"asset": "EUR"}, 422, "not-bookable", "base currency USD"),
    ("cash as an asset", LOT | {"asset": "USD"}, 422, "not-bookable", "record it as cash"),
    ("cash as a lot", LOT | {"kind": "opening_lot", "asset": "USD"}, 422, "not-bookable", "record it as cash"),
    (
        "cash out as an asset",
        {"kind": "asset_withdrawal", "account": "bank", "asset": "USD", "quantity": "1"},
        *(422, "not-bookable", "record it as cash"),
    ),
    (
        "a split of cash",
        {"kind": "split", "asset": "USD", "numerator": 2, "denominator": 1},
        422,
        "not-bookable",
        "split",
    ),
    (
        "income of another worth",
        {"kind": "income", "account": "bank", "asset": "USD", "quantity": "4", "value": "5", "income_kind": "other"},
        *(422, "not-bookable", "worth"),
    ),
    (
        "income without its worth",
        {"kind": "income", **BTC, "quantity": "4", "income_kind": "other"},
        *(422, "not-bookable", "value is missing"),
    ),
    (
        "a fee without its worth",
        {"kind": "fee", "account": "bank", "fee": {"asset": "BTC", "amount": "1"}},
        *(422, "not-bookable", "states no value"),
    ),
    (
        "one account twice",
        {"kind": "transfer", "from_account": "bank", "to_account": "bank", "asset": "BTC", "quantity": "1"},
        *(422, "not-bookable", "two different accounts"),
    ),
    (
        "an unknown end of a transfer",
        {"kind": "transfer", "from_account": "bank", "to_account": "moon", "asset": "BTC", "quantity": "1"},
        *(422, "unknown-account", "moon"),
    ),
    ("a wrong rate", FILL | {"quote_rate": "1.1"}, 422, "not-bookable", "must be 1"),
    ("no rate", FILL | {"product_id": "BTC-EUR", "fees": []}, 422, "not-bookable", "quote_rate is missing"),
    ("a fee without worth", FILL | {"fees": [{"asset": "BNB", "amount": "1"}]}, 422, "not-bookable", "states no value"),
    (
        "a fee of it all",
        FILL | {"fees": [{"asset": "BTC", "amount": "2"}]},
        422,
        "not-bookable",
        "less than the quantity",
    ),
    ("too large", FILL | {"quantity": "9" * 20, "price": "9" * 20, "fees": []}, 422, "not-bookable", "digits"),
    ("too large a sum", CASH | {"amount": "9" * 20}, 422, "not-bookable", "digits"),
]


def test_entries_that_cannot_be_booked_are_rejected_without_storing_anything(daybook: Daybook) -> None:
    """The log, the views and the key are unchanged."""
    enter(daybook, CASH, "cash")
    before, portfolio = head(daybook), daybook.read("portfolio", portfolio="mine")

    for name, body, status, kind, word in BAD:
        answer = daybook.post("portfolio/entries?portfolio=mine", body, "the same key")
        assert (name, answer.status_code, problem_of(answer)) == (name, status, kind)
        assert word in answer.json()["detail"], (name, answer.json()["detail"])
        assert "\n" not in answer.json()["detail"]
        assert head(daybook) == before, name
    assert daybook.read("portfolio", portfolio="mine") == portfolio
    enter(daybook, CASH, "the same key")
    assert daybook.post("verification?portfolio=mine").json()["verified"]


def refuse_to_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every fold of a holding fail."""

    def fold(*_: object) -> list[object]:
        raise ValueError("planted fault")

    monkeypatch.setattr(HoldingsProjection, "fold", fold)


def test_entry_is_rejected_when_a_fold_fails_on_it(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    before = head(daybook)
    with monkeypatch.context() as patched:
        refuse_to_fold(patched)
        answer = daybook.post("portfolio/entries?portfolio=mine", CASH, "key")

    assert (answer.status_code, problem_of(answer)) == (422, "not-bookable")
    assert "planted fault" in answer.json()["detail"]
    assert head(daybook) == before
    enter(daybook, CASH, "key")
    assert daybook.read("portfolio", portfolio="mine")["cash"] == "1000"


def test_entry_that_stops_the_views_is_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "booked_and", lambda alongside, _portfolio_id: alongside)

    with pytest.raises(AssertionError):
        test_entry_is_rejected_when_a_fold_fails_on_it(daybook, monkeypatch)


def test_entry_is_rejected_while_the_views_are_stopped(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(daybook, CASH, "cash")
    with monkeypatch.context() as patched:
        patched.setattr(recording, "booked_and", lambda alongside, _portfolio_id: alongside)
        refuse_to_fold(patched)
        enter(daybook, CASH, "unseen")

    answer = daybook.post("portfolio/entries?portfolio=mine", CASH, "key")

    assert (answer.status_code, problem_of(answer)) == (409, "views-stopped")


def test_fill_is_entered_once_when_many_enter_it_at_once(daybook: Daybook) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(
                lambda number: daybook.post(
                    "portfolio/entries?portfolio=mine", FILL | {"price": f"{number + 1}"}, f"{number}"
                ),
                range(12),
            )
        )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11
    assert {problem_of(answer) for answer in answers if answer.status_code == 409} == {"trade-exists"}
    assert len(daybook.read("trades", portfolio="mine")["items"]) == 1
    enter(daybook, FILL | {"account": "wallet"}, "another account")


def test_closed_portfolio_accepts_only_earlier_entries(daybook: Daybook) -> None:
    closed = enter(daybook, {"kind": "close", "reason": "moved"}, "close")["event"]["occurred_at"]
    names = {one["name"]: one for one in daybook.read("portfolios")}

    assert (names["mine"]["closed_at"], names["mine"]["closed_reason"]) == (closed, "moved")
    for body in (CASH, {"kind": "close", "reason": "again"}):
        refused = daybook.post("portfolio/entries?portfolio=mine", body, "late")
        assert (refused.status_code, problem_of(refused)) == (409, "portfolio-closed")
    refused = daybook.post("accounts?portfolio=mine", ACCOUNTS[0] | {"account": "new"}, "late")
    assert (refused.status_code, problem_of(refused)) == (409, "portfolio-closed")
    enter(daybook, CASH | {"occurred_at": YEARS_AGO}, "late")
    assert daybook.read("portfolio", portfolio="mine")["cash"] == "1000"


# --- portfolios and accounts ------------------------------------------------------------------------------------------


def test_open_portfolio_rejects_used_and_reserved_names(daybook: Daybook) -> None:
    """Nothing is stored."""
    names = [one["name"] for one in daybook.read("portfolios")]
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({}, 409, "portfolio-exists"),
        ({"base_currency": "EUR"}, 409, "portfolio-exists"),
        ({"name": daybook.system.portfolio_name}, 422, "reserved-name"),
        ({"name": "paper ETH-USD 1m file"}, 422, "reserved-name"),
        ({"name": "two", "accounts": [ACCOUNTS[0], ACCOUNTS[0]]}, 422, "account-exists"),
        ({"name": ""}, 400, "invalid-request"),
        ({"name": "two", "base_currency": "usd"}, 400, "invalid-request"),
        ({"name": "two", "accounts": [{"account": "a", "venue": "b", "mode": "real"}]}, 400, "invalid-request"),
    ]
    for other, status, kind in bad:
        answer = daybook.post("portfolios", {"name": "mine", "base_currency": "USD"} | other, "key")
        assert (other, answer.status_code, problem_of(answer)) == (other, status, kind)
    assert [one["name"] for one in daybook.read("portfolios")] == names


def test_accounts_list_their_balances_now_and_in_the_past(daybook: Daybook) -> None:
    """An account is opened once."""
    enter(daybook, CASH | {"occurred_at": YEARS_AGO}, "cash")
    enter(daybook, LOT, "lot")
    new = {"account": "cold", "venue": "own", "mode": "live"}
    assert daybook.post("accounts?portfolio=mine", new, "cold").json()["balances"] == []
    again = daybook.post("accounts?portfolio=mine", new, "again")
    assert (again.status_code, problem_of(again)) == (409, "account-exists")

    found = {one["account"]: one["balances"] for one in daybook.read("accounts", portfolio="mine")}

    balances = [{"asset": "BTC", "quantity": "2"}, {"asset": "USD", "quantity": "1000"}]
    assert found == {"bank": balances, "cold": [], "wallet": []}
    then = daybook.read("accounts", portfolio="mine", as_of="2021-01-01T00:00:00Z")
    assert {one["account"]: one["balances"] for one in then} == {"bank": balances[1:], "cold": [], "wallet": []}
    enter(daybook, CASH | {"account": "cold"}, "cold cash")


# --- reversals -----------------------------------------------------------------------------------------------------


def figures(daybook: Daybook, name: str) -> list[Any]:
    """All figures of a portfolio, without names, ids and log positions."""
    portfolio = daybook.read("portfolio", portfolio=name)
    accounts = [one["balances"] for one in daybook.read("accounts", portfolio=name)]
    details = [
        daybook.read(f"portfolio/positions/{one['product_id']}", portfolio=name) for one in portfolio["positions"]
    ]
    numbers = [
        {field: one[field] for field in one if not field.endswith(("_id", "_at", "_by"))}
        for detail in details
        for part in ("open_lots", "matches", "unmatched")
        for one in detail[part]
    ]
    kept = {field: portfolio[field] for field in portfolio if field not in ("portfolio_id", "name", "position")}
    return [kept, accounts, numbers]


def test_figures_after_a_reversal_equal_those_of_a_correct_first_entry(daybook: Daybook) -> None:
    opened(daybook, "right")
    story = [entry for _, entries, _, _ in CHANGES[:-2] for entry in entries if entry not in (CASH, FILL)]
    story = [CASH, FILL, *story, SALE]
    for number, entry in enumerate(story):
        right = entry | {"occurred_at": f"2024-03-{number + 1:02}T10:00:00Z"}
        sizes = {field: str(Decimal(right[field]) * 3) for field in ("amount", "quantity") if field in right}
        wrong = right | sizes | ({"numerator": 7} if entry["kind"] == "split" else {})
        if right.get("asset") == "USD" and "value" in right:
            wrong["value"] = sizes["quantity"]
        mistaken = enter(daybook, wrong, f"wrong {number}")["event"]
        reverse(daybook, mistaken["event_id"], f"back {number}")
        enter(daybook, right, f"right {number}")
        enter(daybook, right, f"at once {number}", "right")

    assert figures(daybook, "mine") == figures(daybook, "right")
    assert daybook.post("verification").json()["differences"] == []


def test_ignored_reversal_is_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.projections.holdings._fold_reversal", lambda *_: [])

    with pytest.raises(AssertionError):
        test_figures_after_a_reversal_equal_those_of_a_correct_first_entry(daybook)


def test_reversed_trade_is_marked_and_can_be_entered_again(daybook: Daybook) -> None:
    fill = enter(daybook, FILL | {"occurred_at": YEARS_AGO}, "fill")["trade"]

    done = reverse(daybook, fill["trade_id"], "back")

    assert done["trade"] == fill | {"reversed": True}
    assert (done["reversal"]["type"], done["reversal"]["occurred_at"]) == ("TradeReversed", YEARS_AGO)
    assert done["reversal"]["causation_id"] == done["event"]["event_id"] == fill["trade_id"]
    shown = daybook.read(f"trades/{fill['trade_id']}", portfolio="mine")
    assert shown["story"] == [done["event"], done["reversal"]]
    again = enter(daybook, FILL, "fill again")["trade"]
    listed = [(one["trade_id"], one["reversed"]) for one in daybook.read("trades", portfolio="mine")["items"]]
    assert listed == [(again["trade_id"], False), (fill["trade_id"], True)]
    refused = daybook.post("portfolio/entries?portfolio=mine", FILL, "a third time")
    assert (refused.status_code, problem_of(refused)) == (409, "trade-exists")


def test_reverse_rejects_unknown_and_irreversible_events(daybook: Daybook) -> None:
    """Nothing is stored."""
    account = daybook.read("events", portfolio="mine", type="AccountOpened")["items"][0]["event_id"]
    cash = enter(daybook, CASH, "cash")["event"]["event_id"]
    back = reverse(daybook, cash, "back")["reversal"]["event_id"]
    elsewhere = daybook.read("events", type="CashDeposited")["items"][0]["event_id"]
    before = head(daybook)

    for event_id, body, status, kind in (
        (NOWHERE, {"reason": "wrong"}, 404, "unknown-event"),
        (elsewhere, {"reason": "wrong"}, 404, "unknown-event"),
        (account, {"reason": "wrong"}, 422, "not-reversible"),
        (back, {"reason": "wrong"}, 422, "not-reversible"),
        (cash, {"reason": "wrong"}, 409, "already-reversed"),
        (cash, {"reason": ""}, 400, "invalid-request"),
        (cash, {}, 400, "invalid-request"),
        ("no-id", {"reason": "wrong"}, 404, "not-found"),
    ):
        answer = daybook.post(f"trades/{event_id}/reverse?portfolio=mine", body, "key")
        assert (event_id, answer.status_code, problem_of(answer)) == (event_id, status, kind)
    assert head(daybook) == before
    assert daybook.read("portfolio", portfolio="mine")["cash"] == "0"


# --- the portfolio that this program trades in ------------------------------------------------------------------------


def test_paper_venue_uses_entered_balances_at_once(daybook: Daybook) -> None:
    dear = BUY | {"quote_size": "15000"}
    assert problem_of(daybook.post("trades/execute", dear, "too dear")) == "order-rejected:enough-available"
    enter(daybook, CASH | {"account": "paper", "amount": "10000"}, "cash", None)
    assert daybook.post("trades/execute", dear, "now").status_code == 201
    daybook.pass_seconds(4)
    enter(daybook, LOT | {"account": "paper", "asset": "ETH"}, "coins", None)
    sale = {"product_id": "ETH-USD", "side": "sell", "base_size": "2", "type": "market"}
    sold = daybook.post("trades/execute", sale, "sell").json()["order"]["order_id"]
    daybook.pass_seconds(10)

    assert daybook.read(f"orders/{sold}")["trades"]
    cash = daybook.read("portfolio")["cash"]
    enter(daybook, {"kind": "cash_withdrawal", "account": "paper", "amount": cash}, "out", None)
    assert problem_of(daybook.post("trades/execute", BUY, "none left")) == "order-rejected:enough-available"
    assert daybook.post("verification").json()["verified"]


def test_orders_go_to_the_first_account_when_others_are_opened(daybook: Daybook) -> None:
    for name, mode in (("aaa", "live"), ("aab", "paper")):
        body = {"account": name, "venue": "elsewhere", "mode": mode}
        assert daybook.post("accounts", body, name).status_code == 201

    assert daybook.post("trades/execute", BUY, "buy").json()["order"]["account"] == "paper"


def test_reversed_paper_fill_returns_its_money(daybook: Daybook) -> None:
    order = daybook.post("trades/execute", BUY | {"quote_size": "9900"}, "buy").json()["order"]["order_id"]
    daybook.pass_seconds(4)
    for fill in daybook.read(f"orders/{order}")["trades"]:
        reverse(daybook, fill["trade_id"], f"back {fill['trade_id']}", None)

    portfolio = daybook.read("portfolio")

    assert (portfolio["cash"], portfolio["positions"]) == ("10000", [])
    assert all(one["reversed"] for one in daybook.read(f"orders/{order}")["trades"])
    assert daybook.post("trades/execute", BUY | {"quote_size": "9900"}, "again").status_code == 201


def test_entry_is_rejected_when_it_repeats_a_fill_of_an_own_order(daybook: Daybook) -> None:
    daybook.post("trades/execute", BUY, "buy")
    daybook.pass_seconds(2)
    fill = daybook.read("trades")["items"][0]

    entry = FILL | {"account": "paper", "venue_trade_id": fill["venue_trade_id"]}
    answer = daybook.post("portfolio/entries", entry, "key")

    assert (answer.status_code, problem_of(answer)) == (409, "trade-exists")


def test_driven_portfolio_cannot_be_closed_or_entered_ahead_of_its_market(daybook: Daybook) -> None:
    refused = daybook.post("portfolio/entries", {"kind": "close", "reason": "enough"}, "key")
    assert (refused.status_code, problem_of(refused)) == (409, "driven-here")
    now = daybook.read("portfolio")["market_time"]
    entry = enter(daybook, CASH | {"account": "paper"}, "now", None)["event"]
    assert entry["occurred_at"] == now
    late = daybook.post("portfolio/entries", CASH | {"account": "paper", "occurred_at": now[:-1] + ".000001Z"}, "key")
    assert (late.status_code, problem_of(late)) == (422, "future-time")


def test_paper_venue_resumes_after_the_newest_fill_when_restarted(database_url: str, tmp_path: Path) -> None:
    """Even if that fill was reversed or followed by entries."""
    limit = {"product_id": "BTC-USD", "side": "buy", "base_size": "0.1", "type": "limit", "limit_price": "10000"}
    for number, by_hand in enumerate((False, True)):
        with open_daybook(database_url, tmp_path) as running:
            running.pass_seconds(1)
            running.post("trades/execute", BUY, f"buy {number}")
            running.pass_seconds(3)
            running.post("trades/execute", limit, f"limit {number}")
            fill = running.read("trades")["items"][0]
            if by_hand:
                reverse(running, fill["trade_id"], "back", None)
                enter(running, LOT | {"account": "paper"}, "now", None)
        with open_daybook(database_url, tmp_path) as running:
            times = [at.isoformat() for at in running.system.paper._seen_until.values()]
            assert times == [fill["occurred_at"].replace("Z", "+00:00")]


def test_market_time_is_unchanged_by_old_entries_when_restarted(database_url: str, tmp_path: Path) -> None:
    """Open orders fill as before."""
    limit = {"product_id": "BTC-USD", "side": "buy", "base_size": "0.1", "type": "limit", "limit_price": "10000"}
    with open_daybook(database_url, tmp_path) as running:
        running.post("trades/execute", BUY, "buy")
        running.pass_seconds(5)
        waiting = running.post("trades/execute", limit, "limit").json()["order"]["order_id"]
        fill = running.read("trades")["items"][0]
        book, portfolio_id = running.system.book, running.system.portfolio_id
        before = market_time.last_market_time(book, portfolio_id)
        enter(running, LOT | {"account": "paper"}, "now", None)
        reverse(running, fill["trade_id"], "back", None)
        lot = OpeningLotRecorded(account="paper", asset=Asset("BTC"), quantity=Decimal(1))
        ids = [derived_id("old", number) for number in range(210)]
        book.record(portfolio_id, [NewEvent(lot, one, utc_time(YEARS_AGO), "owner", one) for one in ids])
        assert market_time.last_market_time(book, portfolio_id) == before
        shown = running.read("portfolio")["market_time"]

    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(1)  # the candle that closed last goes through again
        assert running.read("portfolio")["market_time"] == shown
        assert running.read(f"orders/{waiting}")["order"]["status"] == "accepted"


def test_entries_that_move_the_market_are_detected_when_planted(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_time, "_entered", lambda _: False)

    with pytest.raises(AssertionError):
        test_market_time_is_unchanged_by_old_entries_when_restarted(database_url, tmp_path)
