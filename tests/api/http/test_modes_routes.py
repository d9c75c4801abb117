"""Modes and approvals over HTTP."""

from decimal import Decimal
from typing import Any

import pytest
from httpx import Response

from tests.support.api_system import Daybook, problem_of


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook with a known price."""
    daybook.pass_seconds(3)
    for name in ("confirmation_minutes", "cooldown_minutes"):
        send(daybook, "PUT", f"limits/{name}", name, {"value": "0"})
    return daybook


def send(daybook: Daybook, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> Response:
    return daybook.send(method, path, headers={"Idempotency-Key": key}, **({} if body is None else {"json": body}))


def asked(daybook: Daybook, key: str = "said") -> str:
    """A buy signal from outside that awaits approval; return its id."""
    assert send(daybook, "PUT", "modes", "ask", {"bot_id": "api:owner", "mode": "ask"}).status_code == 200
    now = daybook.system.market_clock().isoformat()
    said = {"product_id": "BTC-USD", "asof": now, "score": "0.5", "confidence": "1"}
    answer = send(daybook, "POST", "signals", key, said)
    assert (answer.status_code, answer.json()["status"]) == (201, "asked"), answer.text
    return str(answer.json()["signal_id"])


def test_approve_signal_orders_once(daybook: Daybook) -> None:
    """A second approval with another key is rejected."""
    waiting = asked(daybook)
    assert [one["signal_id"] for one in daybook.read("signals/", status="asked")["items"]] == [waiting]
    assert daybook.read("orders/")["items"] == []

    first, again = (send(daybook, "POST", f"signals/{waiting}/approve", "yes") for _ in range(2))

    assert (first.json()["status"], again.json()["status"]) == ("approved", "approved")
    (order,) = daybook.read("orders/")["items"]
    assert (order["triggered_by"], Decimal(order["quote_size"])) == ("bot:api:owner", Decimal(90))
    assert problem_of(send(daybook, "POST", f"signals/{waiting}/approve", "again")) == "wrong-signal"


def test_approve_signal_names_the_failed_rule_when_review_rejects(daybook: Daybook) -> None:
    """Nothing is stored, and the signal keeps waiting."""
    waiting = asked(daybook)
    send(daybook, "POST", "trading/halt", "halt", {"reason": "a walk"})
    head = daybook.head()
    answer = send(daybook, "POST", f"signals/{waiting}/approve", "yes")
    assert problem_of(answer) == "order-rejected:trading-open"
    assert daybook.head() == head
    assert daybook.read(f"signals/{waiting}")["signal"]["status"] == "asked"


def test_reject_signal_stores_the_reason_and_orders_nothing(daybook: Daybook) -> None:
    waiting = asked(daybook)
    answer = send(daybook, "POST", f"signals/{waiting}/reject", "no", {"reason": "too wild"})
    assert (answer.json()["status"], answer.json()["reason"]) == ("rejected", "rejected by owner: too wild")
    assert daybook.read("orders/")["items"] == []


def test_modes_are_set_and_listed(daybook: Daybook) -> None:
    """An unknown bot is rejected."""
    (bot, *_) = daybook.read("bots/signals")
    assert bot["mode"] == "automatic"
    assert send(daybook, "PUT", "modes", "off", {"bot_id": bot["bot_id"], "mode": "off"}).json()["mode"] == "off"
    assert [(one["bot_id"], one["mode"]) for one in daybook.read("modes/")] == [(bot["bot_id"], "off")]
    assert daybook.read("bots/signals")[0]["mode"] == "off"
    assert problem_of(send(daybook, "PUT", "modes", "who", {"bot_id": "nobody", "mode": "ask"})) == "unknown-bot"
    assert send(daybook, "PUT", "modes", "what", {"bot_id": bot["bot_id"], "mode": "maybe"}).status_code == 400
