"""Translation of single rows, quirk by quirk."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from ledger.events import BotConfigured, BotRegistered, SignalEmitted, SignalExpired, TradeExecuted
from ledger.log.envelope import decode
from ledger.values import Asset
from migrations.legacy.read.cells import row_hash
from migrations.legacy.translate.bots import translated_bot, translated_signal
from migrations.legacy.translate.decisions import BadDecisions, checked
from migrations.legacy.translate.orders import translated_cluster, translated_order
from migrations.legacy.translate.outcomes import Context, Translation
from migrations.legacy.translate.rows import RawRow, TradeRow, raw_of, trade_of
from signals.registry import bot_of, parameters_of, parameters_text

CONTEXT = Context(UUID(int=1), UUID(int=2), Asset("USD"), {"1": "BTC-USD", "2": "ETH-USD"})
TRADE: dict[str, Any] = {
    "id": 17,
    "bot_id": 1,
    "product_id": "BTC-USD",
    "side": "BUY",
    "size": 0.5,
    "price": 100.0,
    "fee": 0.0,
    "commission": 0.3,
    "order_id": "o1",
    "status": "filled",
    "combined_signal_score": -0.4,
    "signal_scores": "{}",
    "size_usd": 50.0,
    "created_at": "2025-09-20 10:00:00",
    "filled_at": "2025-09-20T10:00:01Z",
}
FILL: dict[str, Any] = {
    "id": 5,
    "fill_id": "f1",
    "order_id": "o1",
    "product_id": "BTC-USD",
    "side": "BUY",
    "size": 0.5,
    "size_in_quote": 0,
    "price": 101.0,
    "commission": 0.25,
    "created_at": "2025-09-20T10:00:02Z",
    "synced_at": "2025-09-20 10:05:00",
}


def trade(key: str = "17", decided: dict[str, str] | None = None, **cells: Any) -> TradeRow:
    return trade_of(key, {**TRADE, "id": int(key), **cells}, decided or {})


def fill(key: str = "5", **cells: Any) -> RawRow:
    found = raw_of(key, {**FILL, "id": int(key), **cells}, {})
    assert isinstance(found, RawRow)
    return found


def alone(decided: dict[str, str] | None = None, **cells: Any) -> Translation:
    return translated_cluster(CONTEXT, [trade(decided=decided, **cells)])


def event(found: Translation) -> TradeExecuted:
    (one,) = found.staged
    made = decode(one.ready.type, one.ready.version, one.ready.payload)
    assert isinstance(made, TradeExecuted)
    return made


def fate(found: Translation, table: str = "trades", key: str = "17") -> tuple[str, str]:
    return next((one.word, one.reason) for one in found.fates if (one.table, one.key) == (table, key))


def origin(found: Translation) -> dict[str, Any]:
    legacy: dict[str, Any] = json.loads(found.staged[0].ready.metadata)["legacy"]
    return legacy


def test_trade_row_becomes_one_trade_with_its_origin() -> None:
    """Quantity, price, fee and time are exact; the metadata contains the row and its hash."""
    found = alone()
    made = event(found)
    assert (made.quantity, made.price, made.fees[0].amount) == (Decimal("0.5"), Decimal(100), Decimal("0.3"))
    assert found.staged[0].ready.time == datetime(2025, 9, 20, 10, 0, 1, tzinfo=UTC)
    assert origin(found)["row"] == TRADE
    assert origin(found)["hash"] == row_hash(TRADE)
    assert (origin(found)["fee_source"], origin(found)["unit"]) == ("commission", "base")
    assert origin(found)["triggered_by_confidence"] == "0.6"


@pytest.mark.parametrize(
    ("cells", "quantity", "flags"),
    [
        ({"size": 0.5, "size_usd": 50.0}, "0.5", ()),
        ({"size": 50.0, "size_usd": 50.0}, "0.5", ()),
        ({"size": 50.0, "size_usd": 50.0, "price": 1.004}, "50", ("both units are possible: base is used",)),
        ({"size": 0.1 + 0.2, "size_usd": 30.0}, "0.30000000000000004", ()),
        ({"size": 100.0, "size_usd": 100.0, "price": 3.0}, "33.333333333333333333", ()),
        ({"size": "0.5"}, "0.5", ()),
    ],
)
def test_size_unit_follows_from_size_usd(cells: dict[str, Any], quantity: str, flags: tuple[str, ...]) -> None:
    """Base if size * price equals size_usd, quote if size does; near a price of 1 both do: base, flagged."""
    found = alone(**cells)
    assert event(found).quantity == Decimal(quantity)
    assert found.fates[0].flags == flags


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"side": None}, "side is missing"),
        ({"side": "hold"}, "side: 'hold' is neither buy nor sell"),
        ({"size_usd": None}, "size_usd and fills are missing: the size may be in base or quote"),
        (
            {"size_usd": 7.0},
            "size_usd is neither size * price (base) nor size (quote): the size may be in base or quote",
        ),
        ({"size": 0.0}, "size: 0.0 must be greater than 0"),
        ({"size": "many"}, "size: 'many' is not a number"),
        ({"price": float("inf")}, "price: inf is not a number"),
        ({"price": None}, "price is missing"),
        ({"fee": "none"}, "fee: 'none' is not a number"),
        ({"filled_at": "yesterday"}, "filled_at: 'yesterday' is not a time"),
        ({"filled_at": None, "created_at": None}, "filled_at and created_at: no time"),
        ({"filled_at": "0001-01-01"}, "filled_at: '0001-01-01' is before 1900"),
        ({"product_id": "BTC"}, "product_id: 'BTC' is not an instrument such as BTC-USD"),
        ({"status": None}, "status is missing: the trade may not have been executed"),
        ({"deleted_at": "2025-10-01"}, "deleted_at marks the row as deleted: it may not have happened"),
        ({"fee_currency": "BNB"}, "commission: paid in BNB, without its value in the quote currency"),
        (
            {"product_id": "BTC-EUR"},
            "priced in EUR, not in the portfolio's USD: import into another portfolio with --base EUR",
        ),
    ],
)
def test_ambiguous_row_is_quarantined_with_a_reason(cells: dict[str, Any], reason: str) -> None:
    found = alone(**cells)
    assert (found.staged, fate(found)) == ([], ("quarantined", reason))


@pytest.mark.parametrize("name", ["size", "price", "side", "status", "product_id", "size_usd"])
def test_row_is_quarantined_when_a_column_is_missing(name: str) -> None:
    row = {column: cell for column, cell in TRADE.items() if column != name}
    found = translated_cluster(CONTEXT, [trade_of("17", row, {})])
    assert (found.staged, fate(found)[0]) == ([], "quarantined")


@pytest.mark.parametrize("status", ["failed", "pending", "expired", "queued", "CANCELLED", "unknown"])
def test_unexecuted_order_is_archived(status: str) -> None:
    found = alone(status=status)
    assert (found.staged, fate(found)[0]) == ([], "archived")


def test_paper_trade_goes_to_the_paper_portfolio_and_account() -> None:
    found = alone(order_id="mock-1757000000-0a1b2c3d")
    assert (found.staged[0].portfolio_id, event(found).account) == (CONTEXT.paper_id, "legacy-paper")


def test_rows_of_bot_and_sync_merge_into_the_fill() -> None:
    """The trade has the fill's price and the row's fee."""
    found = translated_order(CONTEXT, [fill()], [trade("1", status="completed"), trade("2", order_id="f1")])
    made = event(found)
    assert (made.price, made.quantity, made.venue_trade_id) == (Decimal(101), Decimal("0.5"), "f1")
    assert made.fees[0].amount == Decimal("0.3")
    assert made.triggered_by == "bot:legacy-1"
    assert [fate(found, "raw_trades", "5")[0], fate(found, key="1")[0], fate(found, key="2")[0]] == [
        "imported",
        "merged",
        "merged",
    ]
    assert origin(found)["triggered_by_confidence"] == "0.95"


def test_fee_of_an_order_row_is_shared_exactly_among_its_fills() -> None:
    fills = [fill("5", fill_id="f1", size=0.1), fill("6", fill_id="f2", size=0.2), fill("7", fill_id="f3", size=0.2)]
    found = translated_order(CONTEXT, fills, [trade("1", status="completed", commission=0.1)])
    events = [decode(one.ready.type, one.ready.version, one.ready.payload) for one in found.staged]
    assert sum(one.fees[0].amount for one in events if isinstance(one, TradeExecuted)) == Decimal("0.1")


@pytest.mark.parametrize(
    ("cells", "source"),
    [
        ({"fee": 0.7, "commission": 0.3}, ("0.7", "trades.fee")),
        ({"fee": 0.0, "commission": 0.3}, ("0.3", "trades.commission")),
        ({"fee": None, "commission": None}, ("0.25", "raw_trades.commission")),
    ],
)
def test_fee_is_taken_from_fee_then_commission_then_fill(cells: dict[str, Any], source: tuple[str, str]) -> None:
    """The metadata names the source."""
    found = translated_order(CONTEXT, [fill()], [trade("2", order_id="f1", **cells)])
    assert (str(event(found).fees[0].amount), origin(found)["fee_source"]) == source


def test_fill_in_quote_is_converted_to_base() -> None:
    assert fill(size=202.0, size_in_quote=1).quantity == Decimal(2)


def test_rows_without_fills_merge_by_time_and_quantity_and_are_flagged() -> None:
    """The bot's row merges into the synced one; two rows of the sync never merge."""
    rows = [
        trade("1", status="completed", filled_at="2025-09-20 10:00:00"),
        trade("2", filled_at="2025-09-20 10:00:20", order_id="x"),
    ]
    found = translated_cluster(CONTEXT, rows)
    assert (len(found.staged), fate(found, key="2")[0], fate(found, key="1")[0]) == (1, "imported", "merged")
    assert next(one.flags for one in found.fates if one.key == "1") == ("merged by time and quantity, without a fill",)
    both = translated_cluster(CONTEXT, [trade("1", order_id="x"), trade("2", order_id="y")])
    assert len(both.staged) == 2
    assert "similar to row 1" in both.fates[1].flags[0]


def test_import_decision_prevents_a_merge() -> None:
    rows = [trade("1", {"action": "import"}, status="completed"), trade("2", order_id="x")]
    assert len(translated_cluster(CONTEXT, rows).staged) == 2


@pytest.mark.parametrize(
    ("cells", "source", "confidence"),
    [
        ({"combined_signal_score": 0.0}, "sync", "0"),
        ({"combined_signal_score": 0.0, "signal_scores": '{"rsi": 0.1}'}, "bot:legacy-1", "0.6"),
        ({"bot_id": None}, None, "1"),
        ({"bot_id": 99}, "bot:legacy-99", "0.5"),
        ({"status": "completed"}, "bot:legacy-1", "0.95"),
    ],
)
def test_trigger_has_a_confidence(cells: dict[str, Any], source: str | None, confidence: str) -> None:
    """A bot counts only if the row contains its score: the sync assigned every row to the first bot of a pair."""
    found = alone(**cells)
    assert (event(found).triggered_by, origin(found)["triggered_by_confidence"]) == (source, confidence)


SIGNAL: dict[str, Any] = {
    "id": 3,
    "bot_id": 1,
    "timestamp": "2025-09-20 10:00:00",
    "combined_score": -0.4567891,
    "action": "buy",
    "confidence": 0.5,
    "signal_scores": '{"RSI": {"score": -0.8, "weight": 0.5}, "MA": 0.1, "macd": "?"}',
    "price": 100.0,
}


def test_signal_is_negated_and_expired() -> None:
    """Negative meant buy: each score is negated, as the metadata records."""
    found = translated_signal(CONTEXT, "3", SIGNAL, {})
    signal, expired = (decode(one.ready.type, one.ready.version, one.ready.payload) for one in found.staged)
    assert isinstance(signal, SignalEmitted)
    assert isinstance(expired, SignalExpired)
    assert expired.signal_id == found.staged[0].ready.event_id
    assert (signal.score, signal.bot_id, str(signal.instrument)) == (Decimal("0.456789"), "legacy-1", "BTC-USD")
    assert [(part.name, part.score, part.weight) for part in signal.parts] == [
        ("rsi", Decimal("0.8"), Decimal("0.5")),
        ("ma_cross", Decimal("-0.1"), Decimal("0.33")),
    ]
    assert origin(found)["score_negated"] is True


def test_signal_is_flagged_when_action_and_score_contradict() -> None:
    found = translated_signal(CONTEXT, "3", {**SIGNAL, "action": "sell"}, {})
    assert found.fates[0].flags[0] == "action sell contradicts the negated score 0.456789"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"bot_id": 99}, "bot 99 no longer exists, and the row has no product_id"),
        ({"combined_score": "high"}, "combined_score: 'high' is not a number"),
        ({"combined_score": 3.0}, "score: Input should be greater than or equal to -1"),
        ({"price": None, "timestamp": None}, "missing: timestamp, price"),
    ],
)
def test_incomplete_signal_is_quarantined_with_a_reason(cells: dict[str, Any], reason: str) -> None:
    found = translated_signal(CONTEXT, "3", {**SIGNAL, **cells}, {})
    assert (found.staged, fate(found, "bot_signal_history", "3")) == ([], ("quarantined", reason))


@pytest.mark.parametrize(
    ("config", "note"),
    [
        (None, None),
        ("{broken", "signal_config: '{broken' is not valid JSON: the defaults are used"),
        ("[1]", "signal_config: '[1]' is not a JSON object: the defaults are used"),
        ('{"rsi": {"period": 900}}', "rsi: period 900 is not a whole number from 2 to 100: 14 is used"),
        ('{"MACD": {"fast": 30}}', "macd: fast 30 is not below slow 26: 12 and 26 are used"),
        (
            '{"rsi": {"enabled": false}, "ma": {"enabled": false}, "macd": {"enabled": false}}',
            "no component was enabled: all are, and the bot is stopped",
        ),
    ],
)
def test_bot_becomes_a_combined_bot_with_complete_parameters(config: str | None, note: str | None) -> None:
    """A configured 0 becomes the value that the legacy system used instead."""
    row: dict[str, Any] = {
        "id": 1,
        "pair": "btc-usd",
        "status": "STOPPED",
        "signal_config": config,
        "confirmation_minutes": 0,
        "cooldown_minutes": 0,
        "created_at": "2025-09-02 08:00:00",
    }
    found = translated_bot(CONTEXT, "1", row, {})
    registered, configured = (decode(one.ready.type, one.ready.version, one.ready.payload) for one in found.staged)
    assert isinstance(registered, BotRegistered)
    assert isinstance(configured, BotConfigured)
    assert parameters_text(parameters_of(registered.kind, registered.parameters)) == registered.parameters
    assert registered.bot_version == bot_of(registered.kind).version
    assert json.loads(registered.parameters)["components"][0]["params"]["smoothing"] == "simple"
    settings = origin(found)["settings"]
    assert (settings["confirmation_minutes"], settings["cooldown_minutes"]) == ("5", "15")
    assert (settings["buy_threshold"], settings["sell_threshold"]) == ("0.05", "-0.05")
    assert note is None or note in found.fates[0].flags


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ([], "must be a JSON object"),
        ({"orders": {}}, "unknown table 'orders'"),
        ({"trades": {"1": "buy"}}, "trades 1 must be a JSON object"),
        ({"trades": {"1": {"size": 1.5}}}, "size must be text in quotes"),
        ({"trades": {"1": {"unit": "coins"}}}, "unit must be one of base, quote, not 'coins'"),
        ({"trades": {"*": {"side": "buy"}}}, "only unit can be set for all rows, not side"),
    ],
)
def test_invalid_decisions_are_reported_with_their_place(file: object, message: str) -> None:
    with pytest.raises(BadDecisions, match=message):
        checked(file, "decisions.json")
