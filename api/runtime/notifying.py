"""Notifications of fills, halts and other events, read from the log in a thread of their own and sent through apprise.

The log is the queue. A slow target delays only messages; a failing one loses messages, which are counted, logged and
shown at /health/ready.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from api.runtime.settings import BadSettings, NotifySettings
from api.runtime.wiring import System
from ledger.events import (
    ApprovalRequested,
    DifferenceFound,
    ExitTriggered,
    OutcomeUnknown,
    TradeExecuted,
    TradingHalted,
    TradingResumed,
)
from ledger.log.envelope import Envelope
from ledger.log.event_log import EventLog
from ledger.postgres.database import DATABASE_GONE
from ledger.values import decimal_text

log = structlog.get_logger()

PAUSE_S: Final = 1.0
TRIES: Final = 3
MOST_WAITING: Final = 100
"""When more are waiting, the oldest are dropped."""

Send = Callable[[str, str], bool]
"""Sends a title and a text; returns `True` if every target accepted them."""


def message_of(envelope: Envelope) -> tuple[str, str] | None:
    """Return title and text of the event's message, or None for an event without one."""
    match envelope.event:
        case TradeExecuted(order_id=UUID()) as trade:
            what = f"{decimal_text(trade.quantity)} {trade.instrument} at {decimal_text(trade.price)}"
            return f"Daybook: {trade.side.value} filled", f"{trade.side.value} {what} in {trade.account}"
        case TradeExecuted(triggered_by="sync") as trade:
            what = (
                f"{trade.side.value} {decimal_text(trade.quantity)} {trade.instrument} at {decimal_text(trade.price)}"
            )
            return f"Daybook: a trade not placed by Daybook in {trade.account}", what
        case TradingHalted() as halt:
            return "Daybook: trading is halted", f"{halt.reason} (by {envelope.actor})"
        case TradingResumed() as resumed:
            return "Daybook: trading is resumed", f"{resumed.reason} (by {envelope.actor})"
        case OutcomeUnknown() as unknown:
            return "Daybook: an order's outcome is unknown", f"order {unknown.order_id}: {unknown.text}"
        case ApprovalRequested() as request:
            order = (
                f"{request.side.value} {request.instrument} for {decimal_text(request.quote_size)} by {request.bot_id}"
            )
            return "Daybook: a signal awaits your approval", f"{order}: signal {request.signal_id}"
        case DifferenceFound() as found:
            values = f"{found.subject} is {found.ledger} here and {found.venue_says} there"
            return f"Daybook: {found.account} and its exchange differ", values
        case ExitTriggered() as exit:
            return f"Daybook: a {exit.level} was reached", f"exit {exit.exit_id} at {decimal_text(exit.price)}"
        case _:
            return None


class Notifier:
    """Sends messages about one portfolio's events from now on. `sent` and `lost` count messages."""

    def __init__(self, events: EventLog, portfolio_id: UUID, send: Send) -> None:
        self._events = events
        self._portfolio_id = portfolio_id
        self._send = send
        self._cursor = events.head(portfolio_id).position
        self._stopping = threading.Event()
        self.sent = 0
        self.lost = 0

    def run(self) -> None:
        """Send messages until `stop` is called."""
        while not self._stopping.wait(PAUSE_S):
            try:
                self.turn()
            except DATABASE_GONE as failure:
                log.warning("notifications wait for the database", error=type(failure).__name__)

    def stop(self) -> None:
        self._stopping.set()

    def turn(self) -> None:
        """Send a message for each event since the last turn, or count it as lost."""
        waiting: list[tuple[str, str]] = []
        for envelope in self._events.read(self._portfolio_id, self._cursor):
            message = message_of(envelope)
            waiting += [message] if message else []
            self._cursor = envelope.position
        self._lose(len(waiting[:-MOST_WAITING]), "too many were waiting")
        for title, text in waiting[-MOST_WAITING:]:
            if self._stopping.is_set() or not any(self._send(title, text) for _ in range(TRIES)):
                self._lose(1, "no target accepted it")
            else:
                self.sent += 1

    def notes(self) -> list[str]:
        """Return notes on lost messages."""
        return [f"{self.lost} notifications were lost; see the log"] if self.lost else []

    def _lose(self, count: int, reason: str) -> None:
        if count:
            self.lost += count
            log.warning("notifications were lost", count=count, reason=reason)


def notifier_of(system: System, settings: NotifySettings) -> Notifier:
    """Return a notifier, not started yet, for the traded portfolio. Raises BadSettings."""
    send = through_apprise([url.get_secret_value() for url in settings.urls])
    return Notifier(system.book.log, system.portfolio_id, send)


def through_apprise(urls: Sequence[str]) -> Send:
    """Return a function that sends to these targets. Raises BadSettings if apprise is missing or rejects a target."""
    try:
        import apprise
    except ImportError:
        raise BadSettings("[notify] needs the package apprise: run make extras, or install daybook[notify]") from None
    targets = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not targets.add(url):
            raise BadSettings(f"[notify] urls: apprise does not know target number {number}: correct or remove it")

    def send(title: str, text: str) -> bool:
        return bool(targets.notify(title=title, body=text))

    return send
