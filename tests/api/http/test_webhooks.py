"""Webhooks: only authentic messages are accepted, each once."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from httpx import Response

from api.cli import cli
from api.http import webhooks
from api.http.webhooks import Webhooks
from ledger.values import Instrument, time_text
from tests.support.api_system import Daybook, problem_of


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook after three minutes of its market."""
    daybook.pass_seconds(3)
    return daybook


def hooks(daybook: Daybook) -> Webhooks:
    found = daybook.client.app.state.webhooks
    assert isinstance(found, Webhooks)
    return found


def opinion(daybook: Daybook, **changes: object) -> bytes:
    """Body of a signal to buy BTC-USD now, with these changes."""
    signal = {"product_id": "BTC-USD", "asof": time_text(daybook.system.market_clock()), "score": "0.5"}
    return json.dumps(signal | changes).encode()


def signed(daybook: Daybook, secret: str, body: bytes, seconds: int = 0) -> dict[str, str]:
    """Headers of a message signed `seconds` from now."""
    stamp = str(int(daybook.system.clock().timestamp()) + seconds)
    signature = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Daybook-Timestamp": stamp, "X-Daybook-Signature": f"sha256={signature}"}


def send(daybook: Daybook, name: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Send a message without a token."""
    return daybook.send("POST", f"webhooks/{name}", content=body, headers={"Authorization": "", **(headers or {})})


def refused(answer: Response, status: int, problem: str, words: str) -> None:
    assert (answer.status_code, problem_of(answer)) == (status, problem), answer.text
    assert words in answer.json()["detail"]


def test_signed_message_is_recorded_and_reviewed(daybook: Daybook) -> None:
    secret, body = hooks(daybook).add("model", "signal", {}), opinion(daybook)

    answer = send(daybook, "model", body, signed(daybook, secret, body))

    assert answer.status_code == 201, answer.text
    assert (answer.json()["bot_id"], answer.json()["status"]) == ("webhook:model", "rejected")
    story = daybook.read(f"signals/{answer.json()['signal_id']}")["story"]
    assert story[0]["actor"] == "webhook:model"


def test_altered_message_answers_401(daybook: Daybook) -> None:
    """A changed body, timestamp, name or secret, or a broken signature; nothing is stored."""
    secret, body = hooks(daybook).add("model", "signal", {}), opinion(daybook)
    hooks(daybook).add("other", "signal", {})
    headers, before = signed(daybook, secret, body), daybook.head()
    altered = "the signature does not match this webhook, timestamp and body"
    later = headers | {"X-Daybook-Timestamp": str(int(headers["X-Daybook-Timestamp"]) + 1)}

    for name, sent, with_headers in (
        ("model", body + b" ", headers),
        ("model", opinion(daybook, score="-0.5"), headers),
        ("model", body, later),
        ("other", body, headers),
        ("nowhere", body, headers),
        ("model", body, signed(daybook, secret + "x", body)),
        ("model", body, signed(daybook, "", body)),
    ):
        refused(send(daybook, name, sent, with_headers), 401, "not-authorized", altered)
    for bad in (
        {},
        {"X-Daybook-Timestamp": headers["X-Daybook-Timestamp"]},
        {"X-Daybook-Signature": headers["X-Daybook-Signature"]},
        headers | {"X-Daybook-Signature": headers["X-Daybook-Signature"][:-1]},
        headers | {"X-Daybook-Timestamp": "now"},
    ):
        refused(send(daybook, "model", body, bad), 401, "not-authorized", "X-Daybook-Timestamp (seconds")
    assert daybook.head() == before


def test_message_is_valid_for_five_minutes(daybook: Daybook) -> None:
    secret = hooks(daybook).add("model", "signal", {})
    for seconds in (-310, 310):
        body = opinion(daybook)
        answer = send(daybook, "model", body, signed(daybook, secret, body, seconds))
        refused(answer, 401, "timestamp-skewed", "(allowed: 300 s)")
    for seconds in (-250, 290):
        body = opinion(daybook)
        assert send(daybook, "model", body, signed(daybook, secret, body, seconds)).status_code == 201


def test_message_is_accepted_once(daybook: Daybook) -> None:
    """Signed again, it is the same signal."""
    secret, body = hooks(daybook).add("model", "signal", {}), opinion(daybook)
    headers = signed(daybook, secret, body)
    first = send(daybook, "model", body, headers)
    before = daybook.head()

    refused(send(daybook, "model", body, headers), 409, "replayed", "this message was already accepted")
    again = send(daybook, "model", body, signed(daybook, secret, body, 1))

    assert again.json()["signal_id"] == first.json()["signal_id"]
    assert daybook.head() == before


def test_forgotten_nonces_are_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "claim_nonce", lambda *_: True)
    secret, body = hooks(daybook).add("model", "signal", {}), opinion(daybook)
    headers = signed(daybook, secret, body)

    assert [send(daybook, "model", body, headers).status_code for _ in range(2)] == [201, 201]


def test_rejected_message_can_be_sent_again(daybook: Daybook) -> None:
    secret = hooks(daybook).add("model", "signal", {})
    body = opinion(daybook, asof=time_text(daybook.system.market_clock() + timedelta(minutes=1)))
    headers = signed(daybook, secret, body)
    refused(send(daybook, "model", body, headers), 422, "future-signal", "is in the future")
    daybook.pass_seconds(1)

    assert send(daybook, "model", body, headers).status_code == 201


def test_rotated_secret_stays_valid_until_the_next_rotation(daybook: Daybook) -> None:
    """Unless rotated at once."""
    first = hooks(daybook).add("model", "signal", {})
    second = hooks(daybook).rotate("model")

    def good(*secrets: str) -> list[bool]:
        codes = []
        for secret in secrets:
            daybook.pass_seconds(1)
            body = opinion(daybook)
            codes.append(send(daybook, "model", body, signed(daybook, secret, body)).status_code)
        return [code == 201 for code in codes]

    assert good(first, second) == [True, True]
    third = hooks(daybook).rotate("model")
    assert good(first, second, third) == [False, True, True]
    fourth = hooks(daybook).rotate("model", at_once=True)
    assert good(third, fourth) == [False, True]
    hooks(daybook).remove("model")
    hooks(daybook).add("model", "signal", {})
    assert good(fourth) == [False]


def test_message_is_rejected_when_too_large_or_malformed(daybook: Daybook) -> None:
    """Although its signature is correct."""
    secret = hooks(daybook).add("model", "signal", {})
    huge = opinion(daybook, note="x" * 300_000)
    refused(send(daybook, "model", huge, signed(daybook, secret, huge)), 413, "too-large", "limit: 256 KiB")
    for body, words in ((b"", "JSON"), (b"[]", "object"), (b'{"score": "1"}', "product_id"), (b"\xff", "JSON")):
        refused(send(daybook, "model", body, signed(daybook, secret, body)), 400, "invalid-request", words)


def test_webhook_rejects_unknown_query_parameters(daybook: Daybook) -> None:
    answer = daybook.send("POST", "webhooks/model?token=1", content=b"{}")

    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (400, "unknown-parameter")


# ── TradingView ──────────────────────────────────────────────────────────────────────────────────────────────────────

TICKERS = {"BTCUSD": Instrument("BTC-USD")}


def alert(daybook: Daybook, **changes: object) -> bytes:
    """A TradingView alert with its placeholders filled in."""
    signal = {"ticker": "BTCUSD", "action": "buy", "time": time_text(daybook.system.market_clock()), "price": "50000.5"}
    return json.dumps(signal | changes).encode()


def test_alert_with_the_passphrase_is_recorded_once(daybook: Daybook) -> None:
    """buy is +1, sell is -1, and the alert's price is the entry."""
    secret = hooks(daybook).add("chart", "tradingview", TICKERS, passphrase=True)
    body = alert(daybook, secret=secret)

    answer = send(daybook, "chart", body)

    assert answer.status_code == 201, answer.text
    assert (answer.json()["bot_id"], answer.json()["score"]) == ("webhook:chart", "1")
    event = daybook.read(f"signals/{answer.json()['signal_id']}")["story"][0]
    assert json.loads(event["payload"])["entry"] == "50000.5"
    assert secret not in event["payload"] + event["metadata"]
    refused(send(daybook, "chart", body), 409, "replayed", "this message was already accepted")
    daybook.pass_seconds(1)
    assert send(daybook, "chart", alert(daybook, secret=secret, action="SELL")).json()["score"] == "-1"


def test_passphrase_is_accepted_only_where_configured(daybook: Daybook) -> None:
    passphrase = hooks(daybook).add("chart", "tradingview", TICKERS, passphrase=True)
    secret = hooks(daybook).add("strict", "tradingview", TICKERS)
    for wrong in ({}, {"secret": ""}, {"secret": secret}, {"secret": passphrase[:-1]}, {"secret": "é"}):
        refused(
            send(daybook, "chart", alert(daybook, **wrong)), 401, "not-authorized", "the webhook's secret in the body"
        )
    refused(
        send(daybook, "strict", alert(daybook, secret=secret)), 401, "not-authorized", "X-Daybook-Timestamp (seconds"
    )
    body = alert(daybook)
    assert send(daybook, "strict", body, signed(daybook, secret, body)).status_code == 201


def test_answers_without_a_secret_do_not_reveal_which_webhooks_exist(daybook: Daybook) -> None:
    hooks(daybook).add("chart", "tradingview", TICKERS, passphrase=True)
    hooks(daybook).add("strict", "tradingview", TICKERS)
    hooks(daybook).add("model", "signal", {})
    bodies = [b"", b"{", b"[1]", b"\xff", b'{"secret": 1}', b'{"secret": "x"}', alert(daybook), opinion(daybook)]
    bodies += [alert(daybook, secret="wrong"), alert(daybook, secret="wrong", quantity=1), b"[" * 100_000]
    for body in bodies:
        for headers in (
            {},
            {"X-Daybook-Timestamp": "now"},
            signed(daybook, "wrong", body),
            signed(daybook, "", body, -900),
        ):
            answers = [
                send(daybook, name, body, headers) for name in ("chart", "strict", "model", "nowhere", "n%C3%B6")
            ]
            answered = {
                (one.status_code, one.json()["type"], one.json()["detail"], str(sorted(one.headers))) for one in answers
            }
            assert {status for status, *_ in answered} == {401}, (body[:50], headers, answered)
            assert len(answered) == 1


NO_ALERTS: tuple[tuple[dict[str, Any], int, str, str], ...] = (
    ({"ticker": "ETHUSD"}, 422, "unknown-ticker", "unknown ticker 'ETHUSD' (mapped: BTCUSD)"),
    ({"action": "hold"}, 400, "invalid-request", "action"),
    ({"price": 50000.5}, 400, "invalid-request", "write it as text in quotes"),
    ({"time": "1767614400"}, 400, "invalid-request", "is not an ISO-8601 time"),
    ({"time": "2020-01-01T00:00:00Z"}, 422, "stale-signal", "is stale"),
    ({"quantity": "1"}, 400, "invalid-request", "quantity"),
)


def test_unusable_alerts_are_rejected_with_a_reason(daybook: Daybook) -> None:
    secret = hooks(daybook).add("chart", "tradingview", TICKERS, passphrase=True)
    for changes, status, problem, words in NO_ALERTS:
        refused(send(daybook, "chart", alert(daybook, secret=secret, **changes)), status, problem, words)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_webhook_command_adds_lists_rotates_and_removes(daybook: Daybook, database_url: str, tmp_path: Path) -> None:
    """Changes apply to the running Daybook; a secret is printed once and never listed."""

    def run(*words: str) -> Result:
        env = {"DAYBOOK_DATABASE_URL": database_url, "DAYBOOK_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(cli, ["webhook", *words], env=env)

    secret = run("add", "model").stdout.strip()
    body = opinion(daybook)
    assert send(daybook, "model", body, signed(daybook, secret, body)).status_code == 201
    new = run("rotate", "model").stdout.strip()
    chart = run("add", "chart", "--template", "tradingview", "--passphrase", "--map", "BTCUSD=BTC-USD").stdout.strip()
    assert send(daybook, "chart", alert(daybook, secret=chart)).status_code == 201

    listed = run("list", "--json").stdout
    assert [one["live_secrets"] for one in json.loads(listed)] == [1, 2]
    assert not any(one in listed + run("list").stdout for one in (secret, new, chart))
    assert run("remove", "chart").exit_code == 0
    for words, code in (
        (("remove", "chart"), 1),
        (("rotate", "chart"), 1),
        (("add", "model"), 1),
        (("add", "a/b"), 1),
        (("add", "x", "--passphrase"), 2),
        (("add", "x", "--template", "tradingview"), 2),
        (("add", "x", "--template", "tradingview", "--map", "BTCUSD"), 2),
    ):
        assert run(*words).exit_code == code, words
