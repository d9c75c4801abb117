"""Stored events: every released version can be decoded, and invalid payloads are rejected.

`samples/events` contains one stored payload for each type and version. Samples are only added, never changed.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import events
from ledger.events import EVENTS, Event
from ledger.events.fields import Fee, RuleChecked, SignalPart
from ledger.log import envelope
from ledger.log.envelope import BadEvent, UnknownEvent, decode, encode
from ledger.values import Asset, Instrument, Side

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "events"

ORDER = UUID("0192a3c4-5d6e-7f80-91a2-b3c4d5e6f708")
EXIT = UUID("0192a3c4-1111-7abc-8def-001122334455")
SIGNAL = UUID("0192a3c4-0000-7abc-8def-001122334455")
TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)
BTC_USD = Instrument("BTC-USD")
CONFIDENT = RuleChecked(
    rule="minimum_confidence",
    passed=True,
    reason="confidence 0.62 reaches 0.2",
    numbers={"confidence": "0.62", "minimum_confidence": "0.2"},
)
COOLING = RuleChecked(
    rule="cooldown",
    passed=False,
    reason="the last trade of this bot was 7 minutes ago, 15 are needed",
    numbers={"cooldown_minutes": "15", "traded_at": "2026-03-02T09:53:00Z"},
)


def d(text: str) -> Decimal:
    return Decimal(text)


EXPECTED: dict[str, Event] = {
    "PortfolioOpened.v1": events.PortfolioOpened(name="Långsiktig – main", base_currency=Asset("USD")),
    "PortfolioOpened.v2": events.PortfolioOpened(name="Hedge", base_currency=Asset("EUR"), allow_short=True),
    "PortfolioClosed.v1": events.PortfolioClosed(reason="moved to another bank"),
    "AssetDeposited.v1": events.AssetDeposited(
        account="ledger nano", asset=Asset("BTC"), quantity=d("0.12345678"), cost=d("3012.5")
    ),
    "AssetWithdrawn.v1": events.AssetWithdrawn(account="kraken-1", asset=Asset("ETH"), quantity=d("1.5")),
    "OpeningLotRecorded.v1": events.OpeningLotRecorded(account="kraken-1", asset=Asset("SOL"), quantity=d("20")),
    "IncomeReceived.v1": events.IncomeReceived(
        account="kraken-1", asset=Asset("ETH"), quantity=d("0.000012345678901234"), value=d("0.04"), kind="staking"
    ),
    "SplitRecorded.v1": events.SplitRecorded(asset=Asset("NVDA"), numerator=10, denominator=1),
    "TransferRecorded.v1": events.TransferRecorded(
        from_account="kraken-1",
        to_account="ledger nano",
        asset=Asset("BTC"),
        quantity=d("0.5"),
        fee=Fee(asset=Asset("BTC"), amount=d("0.00005"), value=d("3.21")),
    ),
    "FeeCharged.v1": events.FeeCharged(
        account="kraken-1", fee=Fee(asset=Asset("USD"), amount=d("1.25")), trade_id=ORDER, note="told a day later"
    ),
    "TradeReversed.v1": events.TradeReversed(reverses=ORDER, reason="imported twice"),
    "AccountOpened.v1": events.AccountOpened(account="paper-1", venue="paper", mode="paper"),
    "CashDeposited.v1": events.CashDeposited(account="paper-1", asset=Asset("USD"), amount=d("10000.5")),
    "CashWithdrawn.v1": events.CashWithdrawn(account="paper-1", asset=Asset("USD"), amount=d("250.000000000000000001")),
    "TradeExecuted.v1": events.TradeExecuted(
        account="kraken-1",
        venue="kraken",
        venue_trade_id="TZX2WP-XSEOP-FP7WYR",
        instrument=Instrument("ETH-BTC"),
        side=Side.SELL,
        quantity=d("12.345678901234567891"),
        price=d("0.05123"),
        fees=(
            Fee(asset=Asset("BTC"), amount=d("0.0006")),
            Fee(asset=Asset("BNB"), amount=d("0.01"), value=d("6.12")),
            Fee(asset=Asset("ETH"), amount=d("-0.001")),
        ),
        quote_rate=d("61234.56"),
        order_id=ORDER,
        triggered_by="bot:rsi-btc",
    ),
    "BotRegistered.v1": events.BotRegistered(
        bot_id="rsi-btc",
        kind="rsi",
        bot_version="1",
        instrument=BTC_USD,
        timeframe="1h",
        parameters='{"period":14}',
    ),
    "BotConfigured.v1": events.BotConfigured(bot_id="rsi-btc", parameters='{"period":21}'),
    "BotStarted.v1": events.BotStarted(bot_id="rsi-btc"),
    "BotStopped.v1": events.BotStopped(bot_id="rsi-btc", reason="holiday"),
    "BotFailed.v1": events.BotFailed(
        bot_id="rsi-btc", asof=TEN, error="ValueError: the window holds 3 candles, 15 are needed"
    ),
    "BotKindEnabled.v1": events.BotKindEnabled(
        kind="momentum",
        distribution="momentum-bot",
        distribution_version="0.1.0",
        sha256="9f86d081884c7d65" * 4,
    ),
    "BotKindDisabled.v1": events.BotKindDisabled(kind="momentum", reason="it is too loud"),
    "BotModeSet.v1": events.BotModeSet(bot_id="rsi-btc", mode="ask"),
    "SignalEmitted.v1": events.SignalEmitted(
        bot_id="rsi-btc",
        bot_version="1",
        parameters_hash="9f86d081884c7d65",
        instrument=BTC_USD,
        asof=TEN,
        price=d("61234.56"),
        score=d("-0.415926"),
        confidence=d("0.62"),
        horizon_s=86400,
        entry=d("61200"),
        take_profit=d("58000"),
        stop_loss=d("62500.5"),
        category="swing",
        parts=(
            SignalPart(name="rsi", score=d("-0.5"), weight=d("0.6"), value=d("73.4")),
            SignalPart(name="trend", score=d("0"), weight=d("0.4")),
        ),
        note="overbought",
    ),
    "SignalApproved.v1": events.SignalApproved(
        signal_id=SIGNAL, side=Side.SELL, quote_size=d("90"), rules=(CONFIDENT,)
    ),
    "ApprovalRequested.v1": events.ApprovalRequested(
        signal_id=SIGNAL, bot_id="rsi-btc", instrument=BTC_USD, side=Side.SELL, quote_size=d("90"), rules=(CONFIDENT,)
    ),
    "SignalRejected.v1": events.SignalRejected(signal_id=SIGNAL, rules=(CONFIDENT, COOLING), not_yet=False),
    "SignalRejected.v2": events.SignalRejected(signal_id=SIGNAL, rules=(CONFIDENT, COOLING), not_yet=True),
    "SignalExpired.v1": events.SignalExpired(signal_id=SIGNAL, rules=(COOLING,)),
    "OrderRequested.v2": events.OrderRequested(
        client_order_id="db-0192a3c4-2",
        account="kraken-1",
        venue="kraken",
        instrument=BTC_USD,
        side=Side.SELL,
        kind="stop",
        base_size=d("0.0015"),
        stop_price=d("58000.5"),
        triggered_by="manual",
        expires_at=datetime(2026, 3, 2, 12, 0, 0, 123456, UTC),
    ),
    "OrderRequested.v1": events.OrderRequested(
        client_order_id="db-0192a3c4-1",
        account="kraken-1",
        venue="kraken",
        instrument=BTC_USD,
        side=Side.BUY,
        kind="limit",
        base_size=d("0.0015"),
        limit_price=d("61000"),
        signal_id=SIGNAL,
        triggered_by="bot:rsi-btc",
        expires_at=datetime(2026, 3, 2, 12, 0, 0, 123456, UTC),
        rules=(CONFIDENT,),
    ),
    "OrderSubmitted.v1": events.OrderSubmitted(
        order_id=ORDER, attempt=1, deadline=datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)
    ),
    "OrderAccepted.v1": events.OrderAccepted(order_id=ORDER, venue_order_id="OQCLML-BW3P3-BUCMWZ"),
    "OrderRefused.v1": events.OrderRefused(order_id=ORDER, code="insufficient_funds", text="EOrder:Insufficient funds"),
    "OutcomeUnknown.v1": events.OutcomeUnknown(order_id=ORDER, code="timeout", text="no answer within 30 seconds"),
    "CancelRequested.v1": events.CancelRequested(order_id=ORDER, reason="changed my mind"),
    "OutcomeResolved.v1": events.OutcomeResolved(
        order_id=ORDER, outcome="not_placed", reason="the venue's support looked"
    ),
    "ExternalOrderSeen.v1": events.ExternalOrderSeen(
        account="main",
        venue="binance",
        venue_order_id="28",
        client_order_id="web_7f3a",
        instrument=BTC_USD,
        side=Side.SELL,
        state="open",
        filled=d("0.1"),
        placed_at=TEN,
    ),
    "DifferenceFound.v1": events.DifferenceFound(
        account="main", venue="binance", subject="balance of BTC", ledger="0.5", venue_says="0.4"
    ),
    "DifferenceResolved.v1": events.DifferenceResolved(
        difference_id=ORDER, reason="withdrawn to the cold wallet, recorded"
    ),
    "OrderClosed.v1": events.OrderClosed(order_id=ORDER, reason="expired", filled=d("0")),
    "TargetSet.v1": events.TargetSet(kind="allocation", asset=Asset("BTC"), value=d("55.5")),
    "TargetRemoved.v1": events.TargetRemoved(kind="income", period="month"),
    "MarkRecorded.v1": events.MarkRecorded(instrument=BTC_USD, price=d("61234.56"), source="paper (simulated)"),
    "LimitSet.v1": events.LimitSet(limit="maximum_trade", value=d("150")),
    "TradingHalted.v1": events.TradingHalted(reason="the venue's balance and the log differ by 0.1 BTC"),
    "TradingResumed.v1": events.TradingResumed(reason="difference explained"),
    "ExitArmed.v1": events.ExitArmed(
        exit_id=ORDER,
        account="kraken-1",
        instrument=BTC_USD,
        order_id=ORDER,
        quantity=d("0.0015"),
        bought=d("0.0015"),
        stop=d("58000.5"),
        target=d("65000"),
    ),
    "ExitChanged.v1": events.ExitChanged(
        exit_id=EXIT, quantity=None, bought=d("0"), stop=d("60100.25"), target=None, trail=d("0.05")
    ),
    "ExitTriggered.v1": events.ExitTriggered(exit_id=EXIT, level="stop", price=d("60100.25"), order_id=ORDER),
    "ExitDisarmed.v1": events.ExitDisarmed(exit_id=EXIT, reason="nothing of it is left"),
}


def stored(name: str) -> str:
    """Return the sample's text without the trailing newline."""
    return (SAMPLES / f"{name}.json").read_text(encoding="utf-8").removesuffix("\n")


def type_and_version(name: str) -> tuple[str, int]:
    kind, _, version = name.partition(".v")
    return kind, int(version)


def unsampled(kinds: dict[tuple[str, int], type[Event]]) -> list[tuple[str, int]]:
    """Return the event classes without a sample."""
    return [known for known in kinds if not (SAMPLES / f"{known[0]}.v{known[1]}.json").exists()]


def test_every_event_has_a_sample_and_every_sample_an_expectation() -> None:
    """Every event class has a stored sample, and every sample is compared below."""
    assert unsampled(EVENTS) == []
    assert sorted(path.stem for path in SAMPLES.iterdir()) == sorted(EXPECTED)


def test_sample_check_finds_an_event_without_a_sample() -> None:
    """The check above fails for a new class and for a new version of an old one."""
    planted = {("MoonLanded", 1): events.TradingHalted, ("TradingHalted", 2): events.TradingHalted}

    assert unsampled({**EVENTS, **planted}) == [("MoonLanded", 1), ("TradingHalted", 2)]


@pytest.mark.parametrize("name", EXPECTED)
def test_decode_reads_every_sample(name: str) -> None:
    """Events stored by any release decode to the same values."""
    assert decode(*type_and_version(name), stored(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", [f"{kind}.v{version}" for kind, version in EVENTS])
def test_encode_reproduces_the_stored_text(name: str) -> None:
    """Encoding a decoded event gives the stored bytes, so the hash chain can be computed from either."""
    assert encode(decode(*type_and_version(name), stored(name))) == stored(name)


@pytest.mark.parametrize("name", EXPECTED)
def test_decode_rejects_unknown_fields(name: str) -> None:
    """Unknown fields are an error; they are not ignored."""
    payload = {**json.loads(stored(name)), "mood": "good"}

    with pytest.raises(BadEvent, match="mood"):
        decode(*type_and_version(name), json.dumps(payload))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, event in EXPECTED.items()
        for field in type(event).model_fields
        if isinstance(getattr(event, field), Decimal)
    ],
)
@pytest.mark.parametrize(
    "number", [1, 0.5, True, "1e3", "NaN", "Infinity", " 1", "1_000", "", "1" * 21, "0." + "1" * 19]
)
def test_decode_rejects_decimals_that_are_not_plain_text(name: str, field: str, number: object) -> None:
    """JSON numbers, exponents, NaN and too many digits are rejected in every decimal field."""
    payload = {**json.loads(stored(name)), field: number}

    with pytest.raises(BadEvent, match=field):
        decode(*type_and_version(name), json.dumps(payload))


@pytest.mark.parametrize(
    ("kind", "version"), [("MoonLanded", 1), ("CashDeposited", 2), ("CashDeposited", 0), ("cashdeposited", 1)]
)
def test_decode_raises_unknown_event(kind: str, version: int) -> None:
    """Types and versions of a newer program raise UnknownEvent."""
    with pytest.raises(UnknownEvent, match=kind):
        decode(kind, version, stored("CashDeposited.v1"))


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("OrderSubmitted.v1", {"deadline": "2026-03-02T10:00:30"}, "deadline"),
        ("OrderSubmitted.v1", {"deadline": 1772445630}, "deadline"),
        ("OrderSubmitted.v1", {"attempt": "1"}, "attempt"),
        ("OrderSubmitted.v1", {"order_id": "1"}, "order_id"),
        ("SignalEmitted.v1", {"score": "1.000001"}, "score"),
        ("SignalEmitted.v1", {"confidence": "-0.1"}, "confidence"),
        ("CashDeposited.v1", {"amount": "0"}, "amount"),
        ("CashDeposited.v1", {"asset": "usd"}, "asset"),
        ("MarkRecorded.v1", {"instrument": "USD-USD"}, "instrument"),
        ("TradeExecuted.v1", {"triggered_by": "somebody"}, "triggered_by"),
        ("TradeExecuted.v1", {"fees": [{"asset": "ETH", "amount": "12.4"}]}, "must be less than the quantity"),
        ("TradeExecuted.v1", {"fees": [{"asset": "ETH", "amount": "-12.4"}]}, "must be less than the quantity"),
        ("TradeExecuted.v1", {"fees": [{"asset": "BNB", "amount": "1", "value": "-300"}]}, "must have the same sign"),
        ("TradeExecuted.v1", {"fees": [{"asset": "BNB", "amount": "0", "value": "300"}]}, "must have the same sign"),
        ("PortfolioOpened.v1", {"name": "a\x00b"}, "name"),
        ("TransferRecorded.v1", {"to_account": "kraken-1"}, "two different accounts"),
        ("SplitRecorded.v1", {"denominator": 0}, "denominator"),
        ("AssetDeposited.v1", {"cost": "-1"}, "cost"),
    ],
)
def test_decode_rejects_impossible_values(name: str, change: dict[str, Any], field: str) -> None:
    """Naive times, wrong types and impossible figures raise BadEvent, which names the field."""
    payload = {**json.loads(stored(name)), **change}

    with pytest.raises(BadEvent, match=field):
        decode(*type_and_version(name), json.dumps(payload))


@given(text=st.one_of(st.text(max_size=60), st.sampled_from(["{}", "[]", "null", '{"amount":']), st.just("[" * 5000)))
def test_decode_raises_only_bad_event_for_any_text(text: str) -> None:
    """No text makes decoding raise anything but BadEvent."""
    with pytest.raises(BadEvent):
        decode("CashDeposited", 1, text)


def test_decode_upgrades_old_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload of an old version is upgraded to the newest one."""
    monkeypatch.setitem(envelope.LIFTS, ("LimitSet", 0), lambda old: {"limit": old["name"], "value": old["value"]})

    assert decode("LimitSet", 0, '{"name":"maximum_trade","value":"150"}') == EXPECTED["LimitSet.v1"]


def test_events_are_immutable() -> None:
    """Assigning to a field raises."""
    with pytest.raises(ValueError, match="frozen"):
        EXPECTED["LimitSet.v1"].value = d("1")  # type: ignore[attr-defined]
