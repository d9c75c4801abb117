"""Signals that programs post: recorded once and reviewed like any bot signal."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from api.runtime import inbound_signals
from api.runtime.keys import Keys
from ledger.events import SignalEmitted
from ledger.values import time_text, utc_time
from signals.inbound.signals import same, six_places, untimely
from tests.support.api_system import Daybook, problem_of


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook with its own bots stopped, after three minutes of its market."""
    for kind in ("rsi", "macd", "ma_cross"):
        daybook.post(f"bots/{kind}-BTC-USD/stop", None, kind)
    daybook.pass_seconds(3)
    return daybook


def key(daybook: Daybook, name: str = "model") -> dict[str, str]:
    """Header of a new key that may emit signals only."""
    keys: Keys = daybook.client.app.state.api_keys
    return {"Authorization": f"Bearer {keys.issue(name, ('signal:emit',), None)[0]}"}


def opinion(daybook: Daybook, **changes: object) -> dict[str, Any]:
    """A signal to buy BTC-USD now, with these changes."""
    return {
        "product_id": "BTC-USD",
        "asof": time_text(daybook.system.market_clock()),
        "score": "0.5",
        "confidence": "0.9",
    } | changes


def test_signal_is_recorded_with_key_source_and_own_price_and_reviewed(daybook: Daybook) -> None:
    headers = key(daybook)
    said = opinion(daybook, source="trend", entry="50000.5", horizon_s=600, note="said so", category="swing")
    said["parts"] = [{"name": "slope", "score": "0.4", "weight": "1", "value": "17.25"}]

    answer = daybook.post("signals", said, "one", **headers)

    assert answer.status_code == 201, answer.text
    signal = answer.json()
    assert (signal["bot_id"], signal["score"], signal["status"]) == ("api:model/trend", "0.5", "rejected")
    assert "confirmed" in signal["failed_rules"]
    detail = daybook.read(f"signals/{signal['signal_id']}")
    assert [event["type"] for event in detail["story"]] == ["SignalEmitted", "SignalRejected"]
    assert detail["story"][0]["actor"].startswith("key:model:")
    event = SignalEmitted.model_validate_json(detail["story"][0]["payload"])
    assert (event.entry, event.horizon_s, event.category) == (Decimal("50000.5"), 600, "swing")
    assert event.parts[0].value == Decimal("17.25")


def test_signal_of_an_unregistered_source_is_traded_when_confirmed(daybook: Daybook) -> None:
    headers = key(daybook)
    first = daybook.post("signals", opinion(daybook), "one", **headers).json()
    daybook.pass_seconds(6)

    second = daybook.post("signals", opinion(daybook), "two", **headers).json()
    daybook.pass_seconds(2)

    assert (first["status"], second["status"]) == ("rejected", "approved")
    trades = daybook.read("trades")["items"]
    assert [(trade["side"], trade["triggered_by"]) for trade in trades] == [("buy", "bot:api:model")]
    assert "api:model" not in {bot["bot_id"] for bot in daybook.read("bots")}


def test_repeated_signal_is_stored_once(daybook: Daybook) -> None:
    """With another Idempotency-Key, by another key of the same program, or late."""
    said = opinion(daybook)
    first = daybook.post("signals", said, "one", **key(daybook)).json()
    daybook.pass_seconds(2)
    before = daybook.head()

    again = daybook.post("signals", said, "two", **key(daybook))
    daybook.pass_seconds(20)
    late = daybook.post("signals", said | {"score": "0.500"}, "three", **key(daybook))

    assert [again.json()["signal_id"], late.json()["signal_id"]] == [first["signal_id"]] * 2
    signals = [event for event in daybook.read("events", limit=500)["items"] if event["type"] == "SignalEmitted"]
    assert len(signals) == 1
    assert before <= daybook.head()


def test_equal_signals_of_two_programs_are_two_signals(daybook: Daybook) -> None:
    """Neither program can use the name or idempotency key of the other."""
    said = opinion(daybook)
    first = daybook.post("signals", said, "one", **key(daybook))
    other = daybook.post("signals", said, "one", **key(daybook, "other"))
    third = daybook.post("signals", said, "two", **key(daybook, "other"))

    assert (first.status_code, other.status_code, third.status_code) == (201, 422, 201)
    assert problem_of(other) == "idempotency-key-reused"
    assert [first.json()["bot_id"], third.json()["bot_id"]] == ["api:model", "api:other"]


def test_signal_with_a_known_identity_is_rejected_when_it_differs(daybook: Daybook) -> None:
    headers, said = key(daybook), opinion(daybook)
    daybook.post("signals", said, "one", **headers)
    before = daybook.head()

    answer = daybook.post("signals", said | {"score": "-0.5"}, "two", **headers)

    assert (answer.status_code, problem_of(answer)) == (409, "signal-differs")
    assert "sent another signal for BTC-USD" in answer.json()["detail"]
    assert daybook.head() == before


REFUSED: tuple[tuple[int, dict[str, object], str, str], ...] = (
    (-11, {}, "stale-signal", "a signal may be 600 s old"),
    (-3, {"horizon_s": 60}, "stale-signal", "a signal may be 60 s old"),
    (2, {}, "future-signal", "is in the future"),
    (0, {"product_id": "DOGE-USD"}, "unknown-product", "DOGE-USD is not traded here"),
)


def test_stale_future_and_unknown_signals_are_rejected_without_storing_anything(daybook: Daybook) -> None:
    before, headers = daybook.head(), key(daybook)
    for minutes, changes, problem, words in REFUSED:
        asof = time_text(daybook.system.market_clock() + timedelta(minutes=minutes))

        answer = daybook.post("signals", opinion(daybook, asof=asof, **changes), "one", **headers)

        assert (answer.status_code, problem_of(answer)) == (422, problem)
        assert words in answer.json()["detail"]
    assert daybook.head() == before


def test_missing_check_of_age_is_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound_signals, "untimely", lambda *_: None)
    asof = time_text(daybook.system.market_clock() - timedelta(days=1))

    answer = daybook.post("signals", opinion(daybook, asof=asof), "one", **key(daybook))

    assert (answer.status_code, answer.json()["status"]) == (201, "expired")


MALFORMED: tuple[dict[str, object], ...] = (
    {"score": 0.5},
    {"score": "1.1"},
    {"score": "NaN"},
    {"confidence": "-0.1"},
    {"asof": "2025-01-01T00:00:00"},
    {"source": "rsi:BTC"},
    {"source": ""},
    {"horizon_s": 0},
    {"entry": "-5"},
    {"actor": "owner"},
    {"product_id": "BTC"},
)


def test_malformed_signals_are_rejected(daybook: Daybook) -> None:
    headers = key(daybook)
    for changes in MALFORMED:
        answer = daybook.post("signals", opinion(daybook, **changes), "one", **headers)
        assert (changes, answer.status_code, problem_of(answer)) == (changes, 400, "invalid-request")


def test_signal_requires_an_idempotency_key(daybook: Daybook) -> None:
    answer = daybook.post("signals", opinion(daybook), None, **key(daybook))

    assert (answer.status_code, problem_of(answer)) == (400, "idempotency-key-needed")


def test_untimely_same_and_six_places_are_exact() -> None:
    at = utc_time("2026-01-05T12:00:00Z")
    signal = SignalEmitted.model_validate(
        {
            "bot_id": "x",
            "bot_version": "1",
            "parameters_hash": "-",
            "instrument": "BTC-USD",
            "asof": at,
            "price": Decimal(5),
            "score": Decimal(1),
            "confidence": Decimal(1),
        }
    )
    longest = timedelta(minutes=10)

    assert untimely(signal, at + longest, longest) is None
    assert untimely(signal, at + longest + timedelta(seconds=1), longest) is not None
    assert untimely(signal, at - timedelta(seconds=10), longest) is None
    assert untimely(signal, at - timedelta(seconds=11), longest) is not None
    assert same(signal, signal.model_copy(update={"price": Decimal(6)}))
    assert not same(signal, signal.model_copy(update={"note": "more"}))
    assert six_places(Decimal("0.0000005")) == 0
