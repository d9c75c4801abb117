"""Modes and answers over HTTP: a bot that asks is asked about, a person's yes orders, and a no ends the signal."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from tests.support.api_system import Daybook, open_daybook, problem_of


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook in whose market a price is known."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(3)
        for name in ("confirmation_minutes", "cooldown_minutes"):
            told(running, "PUT", f"limits/{name}", name, {"value": "0"})
        yield running


def told(daybook: Daybook, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> Response:
    return daybook.send(method, path, headers={"Idempotency-Key": key}, **({} if body is None else {"json": body}))


def asked(daybook: Daybook, key: str = "said") -> str:
    """A source outside that is to ask has said buy; returns the id of the signal that waits."""
    assert told(daybook, "PUT", "modes", "ask", {"bot_id": "api:owner", "mode": "ask"}).status_code == 200
    now = daybook.system.market_clock().isoformat()
    said = {"product_id": "BTC-USD", "asof": now, "score": "0.5", "confidence": "1"}
    answer = told(daybook, "POST", "signals", key, said)
    assert (answer.status_code, answer.json()["status"]) == (201, "asked"), answer.text
    return str(answer.json()["signal_id"])


def test_a_person_says_yes(daybook: Daybook) -> None:
    """The signal waits in the list; the same yes twice is one order; a second yes is one too many."""
    waiting = asked(daybook)
    assert [one["signal_id"] for one in daybook.read("signals/", status="asked")["items"]] == [waiting]
    assert daybook.read("orders/")["items"] == []

    first, again = (told(daybook, "POST", f"signals/{waiting}/approve", "yes") for _ in range(2))

    assert (first.json()["status"], again.json()["status"]) == ("approved", "approved")
    (order,) = daybook.read("orders/")["items"]
    assert (order["triggered_by"], Decimal(order["quote_size"])) == ("bot:api:owner", Decimal(90))
    assert problem_of(told(daybook, "POST", f"signals/{waiting}/approve", "again")) == "wrong-signal"


def test_a_yes_that_review_does_not_share_is_told_why(daybook: Daybook) -> None:
    """While trading is halted the answer names the rule, nothing is stored, and the signal waits on."""
    waiting = asked(daybook)
    told(daybook, "POST", "trading/halt", "halt", {"reason": "a walk"})
    head = daybook.head()
    answer = told(daybook, "POST", f"signals/{waiting}/approve", "yes")
    assert problem_of(answer) == "order-rejected:trading-open"
    assert daybook.head() == head
    assert daybook.read(f"signals/{waiting}")["signal"]["status"] == "asked"


def test_a_person_says_no(daybook: Daybook) -> None:
    """The signal is rejected with the reason, and nothing is ordered."""
    waiting = asked(daybook)
    answer = told(daybook, "POST", f"signals/{waiting}/reject", "no", {"reason": "too wild"})
    assert (answer.json()["status"], answer.json()["reason"]) == ("rejected", "rejected by owner: too wild")
    assert daybook.read("orders/")["items"] == []


def test_modes_are_set_and_listed(daybook: Daybook) -> None:
    """What was set is listed, a bot's own mode stands beside what it says, and an unknown bot is refused."""
    (bot, *_) = daybook.read("bots/signals")
    assert bot["mode"] == "automatic"
    assert told(daybook, "PUT", "modes", "off", {"bot_id": bot["bot_id"], "mode": "off"}).json()["mode"] == "off"
    assert [(one["bot_id"], one["mode"]) for one in daybook.read("modes/")] == [(bot["bot_id"], "off")]
    assert daybook.read("bots/signals")[0]["mode"] == "off"
    assert problem_of(told(daybook, "PUT", "modes", "who", {"bot_id": "nobody", "mode": "ask"})) == "unknown-bot"
    assert told(daybook, "PUT", "modes", "what", {"bot_id": bot["bot_id"], "mode": "maybe"}).status_code == 400
