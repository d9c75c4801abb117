"""Portfolios, points in time and pages that requests address."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery

from api.http.errors import Problem
from api.http.schemas import EventAnswer, Page
from api.runtime.wiring import System
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_page, read_story
from ledger.projections import PROJECTIONS
from ledger.projections.portfolio import PortfolioView, portfolio_id_of
from ledger.rows import Projection
from ledger.values import Clock, time_text, utc_time

AnyRequest = Request[Any, Any, State]
Connection = ASGIConnection[Any, Any, Any, Any]
InPortfolio = FromQuery[str | None]
"""Name of a portfolio; default: the one this program trades in."""
NOW: Final = PointInTime()
POSITION: Final = "log_position"
"""Key in a request's state: the log position that the answer was computed at."""
LARGEST_PAGE: Final = 500
PG = TypeVar("PG", bound=Page)


class Positioned(Protocol):
    """A row or event with its log position."""

    @property
    def position(self) -> int: ...


def system_of(request: Connection) -> System:
    """The running system."""
    system = request.app.state.system
    assert isinstance(system, System)
    return system


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The requested portfolio at the requested point in time; injected as `latest`, always the present."""

    request: AnyRequest
    portfolio: str | None
    past: PointInTime = NOW

    @property
    def system(self) -> System:
        return system_of(self.request)

    @contextmanager
    def reading(self, needed: tuple[Projection, ...] = PROJECTIONS) -> Iterator[StoredReading]:
        """Read the rows of the portfolio; of the past only those of the `needed` projections.

        Their log position becomes the answer's ETag. Raises Problem: 404 for an unknown portfolio, 400 for a future time.
        """
        system, past = self.system, self.past
        portfolio_id = portfolio_of(system, self.portfolio)
        _must_not_be_ahead(system, portfolio_id, past)
        with system.past.reading(portfolio_id, past, needed) if past else system.book.reading(portfolio_id) as reading:
            if next(iter(reading.rows.where(PortfolioView)), None) is None:
                when = f" at {time_text(past.known_at)}" if past.known_at else ""
                raise Problem(404, "unknown-portfolio", f"there is no portfolio called {self.portfolio!r}{when}")
            self.request.state[POSITION] = reading.position
            yield reading

    def is_driven(self, reading: StoredReading) -> bool:
        """True if this program trades in the portfolio."""
        return reading.portfolio_id == self.system.portfolio_id


def latest_of(request: AnyRequest, portfolio: InPortfolio = None) -> Snapshot:
    """The requested portfolio now."""
    return Snapshot(request, portfolio)


def snapshot_of(
    request: AnyRequest,
    portfolio: InPortfolio = None,
    as_of: FromQuery[str | None] = None,
    known_at: FromQuery[str | None] = None,
) -> Snapshot:
    """The requested portfolio as of a time, as known at a time. Raises Problem 400 for a malformed time."""
    return Snapshot(request, portfolio, PointInTime(_time("as_of", as_of), _time("known_at", known_at)))


@dataclass(frozen=True, slots=True)
class Paging:
    """A page of a list, newest first: `size` rows before the log position `before`."""

    size: int
    before: int | None

    def answer(self, kind: type[PG], found: Sequence[Positioned]) -> PG:
        """The page and the cursor of the next one. `found` is up to `size` + 1 rows."""
        items = found[: self.size]
        following = str(items[-1].position) if len(found) > self.size else None
        return kind.model_validate({"items": items, "next_cursor": following})


def paging_of(limit: FromQuery[int] = 50, cursor: FromQuery[str | None] = None) -> Paging:
    """The requested page. Raises Problem 400 for a limit outside 1 to 500 or a malformed cursor."""
    return Paging(page_size(limit), cursor_position(cursor))


def cursor_position(cursor: str | None) -> int | None:
    """The number in a cursor. Raises Problem 400 for a malformed one."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise bad_cursor()
    return None if cursor is None else int(cursor)


def bad_cursor() -> Problem:
    return Problem(400, "bad-cursor", "cursor must be the next_cursor of an earlier answer")


def page_size(limit: int) -> int:
    """`limit`. Raises Problem 400 outside 1 to 500."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise Problem(400, "bad-limit", f"limit must be between 1 and {LARGEST_PAGE}")
    return limit


READS: Final = {
    "latest": Provide(latest_of, sync_to_thread=False),
    "snapshot": Provide(snapshot_of, sync_to_thread=False),
    "paging": Provide(paging_of, sync_to_thread=False),
}
"""Dependencies of handlers that read."""


def portfolio_of(system: System, name: str | None) -> UUID:
    """Id of the portfolio called `name`, which may not exist; default: the one this program trades in."""
    return system.portfolio_id if name is None else portfolio_id_of(name)


def driven_portfolio(system: System, name: str | None) -> UUID:
    """Id of the portfolio that this program trades in. Raises Problem 409 if another one is named."""
    if name not in (None, system.portfolio_name):
        detail = f"this program trades in {system.portfolio_name!r} only; start another one to trade in {name!r}"
        raise Problem(409, "not-driven-here", detail)
    return system.portfolio_id


def story_of(reading: StoredReading, position: int, past: PointInTime) -> list[EventAnswer]:
    """Events with the correlation id of the event at `position`, in order, as far as `past` includes them."""
    found = read_page(reading.connection, reading.portfolio_id, position - 1, 1)
    story = read_story(reading.connection, reading.portfolio_id, found[0].correlation_id) if found else []
    return [EventAnswer.model_validate(one) for one in story if past.holds(one)]


def clock_of(system: System, portfolio_id: UUID) -> Clock:
    """The market's clock if this program trades in the portfolio, else the machine's."""
    return system.market_clock if portfolio_id == system.portfolio_id else system.clock


async def known_parameters(connection: Connection, handler: BaseRouteHandler) -> None:
    """Guard. Raises Problem 400 for an undeclared or repeated query parameter and for a NUL character in any.

    Handlers with `opt={"any_query": True}` ignore their query: monitors may add parameters of their own.
    """
    if handler.opt.get("any_query"):
        return
    given = [name for name, _ in connection.query_params.multi_items()]
    allowed = _query_parameters(handler)
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        known = ", ".join(allowed) or "none"
        raise Problem(400, "unknown-parameter", f"unknown query parameter {unknown[0]} (allowed: {known})")
    if len(given) != len(set(given)):
        raise Problem(400, "repeated-parameter", "query parameters must not be repeated")
    if any("\0" in str(value) for value in (*connection.query_params.values(), *connection.path_params.values())):
        raise Problem(400, "invalid-request", "parameters must not contain NUL characters")


@lru_cache(maxsize=128)
def _query_parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Names of the query parameters of the handler and its dependencies."""
    return tuple(sorted(one.field_alias for one in handler.create_kwargs_model({}).expected_query_params))


def _time(name: str, text: str | None) -> datetime | None:
    """Parse a time with a zone; a plus sign may arrive as a space. Raises Problem 400."""
    try:
        return None if text is None else utc_time(text.replace(" ", "+"))
    except ValueError as error:
        raise Problem(400, "bad-time", f"{name}: {error}") from None


def _must_not_be_ahead(system: System, portfolio_id: UUID, past: PointInTime) -> None:
    """Raise Problem 400 for a time after both the machine's clock and the portfolio's."""
    if past.as_of is None:
        return
    now = max(system.clock(), clock_of(system, portfolio_id)())
    if past.as_of > now:
        detail = f"as_of: {time_text(past.as_of)} is in the future (now: {time_text(now)})"
        raise Problem(400, "bad-time", detail)
