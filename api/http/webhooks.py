"""Webhooks: messages authenticated by a signature or, if so configured, by a passphrase in the body.

The signature is HMAC-SHA-256 over timestamp, a dot and the raw body. A webhook can only emit a signal.
"""

import hashlib
import hmac
import json
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeVar

from litestar.exceptions import NotAuthorizedException
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from api.http.errors import Problem
from api.http.schemas import NewSignal, Request
from api.runtime.keys import NAME
from ledger.errors import DaybookError
from ledger.events.fields import Text
from ledger.log.envelope import canonical_json
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import Raw
from ledger.postgres.webhooks import (
    WebhookRecord,
    add_webhook,
    claim_nonce,
    find_webhook,
    remove_webhook,
    set_salts,
)
from ledger.values import Amount, Clock, Instrument, Price, UtcTime
from signals.bot import first_fault

WINDOW: Final = timedelta(seconds=300)
"""Largest difference of a timestamp from this machine's clock."""
KEPT: Final = timedelta(days=1)
"""Lifetime of stored nonces, far longer than any message stays valid."""
M = TypeVar("M", bound=BaseModel)


class BadWebhook(DaybookError):
    """A webhook cannot be added, rotated or removed."""


class TradingViewAlert(Request):
    """A TradingView alert, its message a JSON object. `time` is {{timenow}}; `price` becomes the entry."""

    secret: str = ""
    ticker: Annotated[str, Field(min_length=1, max_length=100)]
    action: Annotated[Literal["buy", "sell"], BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v)]
    time: UtcTime
    price: Price | None = None
    confidence: Annotated[Amount, Field(le=1)] = Decimal(1)
    note: Text = ""


@dataclass(frozen=True, slots=True)
class Message:
    """An authenticated message: its signal and its unique `nonce`."""

    webhook: str
    signal: NewSignal
    nonce: bytes


class Webhooks:
    """Webhooks of an installation, in its database. Their secrets derive from `pepper` and are not stored."""

    def __init__(self, book: PostgresBook, pepper: bytes, clock: Clock) -> None:
        self._book = book
        self._pepper = pepper
        self._clock = clock

    def add(self, name: str, template: str, symbols: Mapping[str, Instrument], *, passphrase: bool = False) -> str:
        """Add a webhook and return its secret. Raises BadWebhook for a malformed name or one in use."""
        if not NAME.fullmatch(name):
            allowed = "1 to 40 letters, digits, dots, dashes and underscores"
            raise BadWebhook(f"invalid webhook name {name[:60]!r} (allowed: {allowed})")
        salt = secrets.token_hex(16)
        new = WebhookRecord(name, template, passphrase, canonical_json(dict(symbols)), (salt,), self._clock())
        with self._book.transaction() as connection:
            if not add_webhook(connection, new):
                raise BadWebhook(f"there is already a webhook called {name!r}: rotate its secret, or remove it first")
        return self._secret(name, salt)

    def rotate(self, name: str, *, at_once: bool = False) -> str:
        """Return a new secret. The previous one stays valid until the next rotation, unless `at_once`. Raises BadWebhook."""
        salt = secrets.token_hex(16)
        with self._book.transaction() as connection:
            found = find_webhook(connection, name)
            if found is None:
                raise _no_webhook(name)
            set_salts(connection, name, (salt,) if at_once else (salt, found.salts[0]))
        return self._secret(name, salt)

    def remove(self, name: str) -> None:
        """Remove a webhook. Raises BadWebhook for an unknown name."""
        with self._book.transaction() as connection:
            if not remove_webhook(connection, name):
                raise _no_webhook(name)

    def authenticated(self, name: str, timestamp: str | None, signature: str | None, body: bytes) -> Message:
        """Authenticate and parse a message. Stores nothing: `claim` does, together with the signal.

        Raises NotAuthorizedException with a text that depends on the message alone, so that it does not reveal which
        webhooks exist. Only authenticated senders get a Problem for a skewed timestamp or a malformed body.
        """
        with self._book.transaction() as connection:
            webhook = find_webhook(connection, name)
        # An unknown name costs the same work, so that timing does not reveal it.
        live = [self._secret(name, salt) for salt in (webhook.salts if webhook else ("",))]
        stamp, given = _signed(timestamp, signature) or ("", "")
        signed = stamp.encode() + b"." + body
        known = _any_equal(live, _passphrase(body))
        right = _any_equal([hmac.new(one.encode(), signed, hashlib.sha256).hexdigest() for one in live], given)
        if webhook is None or not (known if webhook.passphrase else right):
            raise NotAuthorizedException(_WRONG if stamp else _UNSIGNED)
        if webhook.passphrase:
            return Message(name, _of_alert(_parsed(TradingViewAlert, body), webhook), hashlib.sha256(body).digest())
        self._near(int(stamp))
        if webhook.template == "tradingview":
            return Message(name, _of_alert(_parsed(TradingViewAlert, body), webhook), bytes.fromhex(given))
        return Message(name, _parsed(NewSignal, body), bytes.fromhex(given))

    def claim(self, connection: Raw, message: Message) -> None:
        """Store the nonce, in the transaction of the signal. Raises Problem 409 for a replayed message."""
        if not claim_nonce(connection, message.webhook, message.nonce, self._clock(), KEPT):
            raise Problem(409, "replayed", "this message was already accepted: nothing was done")

    def _near(self, stamp: int) -> None:
        away = abs(self._clock() - datetime.fromtimestamp(min(stamp, 2**33), UTC))
        if away > WINDOW:
            skew = f"the timestamp is {away.total_seconds():.0f} s away from this machine's clock"
            raise Problem(401, "timestamp-skewed", f"{skew} (allowed: {WINDOW.seconds} s)")

    def _secret(self, name: str, salt: str) -> str:
        made = hmac.digest(self._pepper, f"webhook\0{name}\0{salt}".encode(), hashlib.sha256)
        return "dbw_" + urlsafe_b64encode(made).decode().rstrip("=")


_WRONG: Final = "the signature does not match this webhook, timestamp and body"
_UNSIGNED: Final = (
    "X-Daybook-Timestamp (seconds since 1970) and X-Daybook-Signature (sha256=HEX) are required: HMAC-SHA-256 over"
    " timestamp, a dot and the body; or, if so configured, the webhook's secret in the body"
)


def _signed(timestamp: str | None, signature: str | None) -> tuple[str, str] | None:
    """Timestamp and hexadecimal signature of a request; None if missing or malformed."""
    found = re.fullmatch(r"sha256=([0-9a-f]{64})", signature or "", re.ASCII)
    if found is None or timestamp is None or not re.fullmatch(r"\d{1,12}", timestamp, re.ASCII):
        return None
    return timestamp, found[1]


class _WithSecret(BaseModel):
    secret: str


def _passphrase(body: bytes) -> str:
    """The secret in the body, regardless of other fields; an empty text if there is none."""
    try:
        return _WithSecret.model_validate_json(body).secret
    except ValidationError:
        return ""


def _any_equal(live: list[str], given: str) -> bool:
    """True if `given` is one of `live`, in a time that depends on neither."""
    return sum(hmac.compare_digest(one.encode(), given.encode("utf-8", "replace")) for one in live) > 0


def _parsed(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Problem(400, "invalid-request", first_fault(error)) from None


def _of_alert(alert: TradingViewAlert, webhook: WebhookRecord) -> NewSignal:
    """Convert an alert to a signal: buy is +1, sell is -1. Raises Problem 422 for an unmapped ticker."""
    symbols: dict[str, str] = json.loads(webhook.symbols)
    if alert.ticker not in symbols:
        known = ", ".join(sorted(symbols)) or "none"
        detail = f"unknown ticker {alert.ticker!r} (mapped: {known}): add it with --map {alert.ticker}=PRODUCT"
        raise Problem(422, "unknown-ticker", detail)
    return NewSignal(
        product_id=Instrument(symbols[alert.ticker]),
        asof=alert.time,
        score=Decimal(1 if alert.action == "buy" else -1),
        confidence=alert.confidence,
        entry=alert.price,
        note=alert.note,
    )


def _no_webhook(name: str) -> BadWebhook:
    return BadWebhook(f"there is no webhook called {name[:60]!r}: see daybook webhook list")
