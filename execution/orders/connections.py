"""The exchanges of a trade service, and when each is asked about an order again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import Exchange, LiveExchange
from execution.orders.order_events import ticket_of
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import AccountView
from ledger.values import Clock

FIRST: Final = tuple(timedelta(seconds=seconds) for seconds in (1, 3, 10, 30))
THEN_EVERY: Final = timedelta(minutes=1)
OPEN_EVERY: Final = timedelta(seconds=10)


class Connections:
    """Exchanges in this process by the name of their venue, live ones by the name of their account."""

    def __init__(self, exchanges: Mapping[str, Exchange], live: Mapping[str, LiveExchange], clock: Clock) -> None:
        self._exchanges, self._live, self._clock = exchanges, live, clock
        self._remembered: set[UUID] = set()
        self._asked: dict[UUID, datetime] = {}

    def of(self, account: AccountView) -> Exchange | None:
        """The account's exchange where it is connected."""
        return self._live.get(account.account) or self._exchanges.get(account.venue)

    def know(self, order: OrderView) -> bool:
        """Whether the order's exchange is connected."""
        return order.account in self._live or order.venue in self._exchanges

    def at(self, order: OrderView) -> Exchange:
        """The order's exchange, which has been told of it where it was or may have been sent."""
        live = self._live.get(order.account)
        if live is None:
            return self._exchanges[order.venue]
        if order.submitted_at is not None and order.order_id not in self._remembered:
            live.remember(ticket_of(order), order.submitted_at, order.venue_order_id)
            self._remembered.add(order.order_id)
        return live

    def sends(self, order: OrderView) -> None:
        """The order is sent now: its exchange knows it from there."""
        self._remembered.add(order.order_id)
        self._asked[order.order_id] = self._clock()

    def hurry(self, order_id: UUID) -> None:
        """The order is due now, whenever it was last asked about."""
        self._asked.pop(order_id, None)

    def due(self, order: OrderView) -> bool:
        """Whether to ask about the order now; if so it counts as asked. One never asked about, after a restart say, is due.

        One of unknown outcome is asked about at 1, 3, 10 and 30 s after its attempt and then every minute; an open one
        every 10 s. One in this process is asked at any time.
        """
        if order.account not in self._live:
            return True
        last, sent, now = self._asked.get(order.order_id), order.submitted_at or order.requested_at, self._clock()
        if last is not None and order.status == "accepted":
            due = now - last >= OPEN_EVERY
        else:
            due = last is None or lookups_until(now - sent) > lookups_until(last - sent)
        if due:
            self._asked[order.order_id] = now
        return due


def lookups_until(elapsed: timedelta) -> int:
    """How many look-ups there are to be in this time after the attempt: at 1, 3, 10 and 30 s, then every minute."""
    first = sum(1 for moment in FIRST if elapsed >= moment)
    return first + max(0, (elapsed - FIRST[-1]) // THEN_EVERY)
