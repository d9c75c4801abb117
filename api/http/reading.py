"""Finding what a request names: its portfolio, a page of rows, one row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.params import FromQuery

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.schemas import EventAnswer
from api.runtime.wiring import System
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_page, read_story
from ledger.projections import PROJECTIONS
from ledger.projections.portfolio import PortfolioView, portfolio_id_of
from ledger.rows import Projection
from ledger.values import Clock, time_text, utc_time

AnyRequest = Request[Any, Any, State]
InPortfolio = FromQuery[str | None]
"""The name of a portfolio; without it the one this program drives is meant."""
P = TypeVar("P", bound="Positioned")
PAST: Final = ("as_of", "known_at")
"""The parameters that ask for the past."""
NOW: Final = PointInTime()
POSITION: Final = "log_position"
"""Where a request's state holds the log position that its answer was computed at."""


class Positioned(Protocol):
    """What stands at a position of the log."""

    @property
    def position(self) -> int: ...


def system_of(request: AnyRequest) -> System:
    """The running system."""
    system = request.app.state.system
    assert isinstance(system, System)
    return system


def commands_of(request: AnyRequest) -> Commands:
    """The runner of commands."""
    commands = request.app.state.commands
    assert isinstance(commands, Commands)
    return commands


def portfolio_of(system: System, name: str | None) -> UUID:
    """The id of the portfolio called `name`, or of the one this program drives."""
    return system.portfolio_id if name is None else portfolio_id_of(name)


def point_in_time_of(as_of: FromQuery[str | None] = None, known_at: FromQuery[str | None] = None) -> PointInTime:
    """The past that a request asks for: what was true `as_of` a time, as far as it was known at `known_at`."""
    return PointInTime(_time("as_of", as_of), _time("known_at", known_at))


def _time(name: str, text: str | None) -> datetime | None:
    """Raises Problem 400 for what is no time with a zone; a plus sign may have come through as a space."""
    try:
        return None if text is None else utc_time(text.replace(" ", "+"))
    except ValueError as error:
        raise Problem(400, "bad-time", f"{name}: {error}") from None


@contextmanager
def reading_of(
    request: AnyRequest, name: str | None, past: PointInTime = NOW, needed: tuple[Projection, ...] = PROJECTIONS
) -> Iterator[StoredReading]:
    """The rows of the named portfolio (the driven one unless named), now or at a cut of its past.

    Of the past only the rows of the projections that are `needed` are there.

    The answer carries their position as its ETag. Raises Problem 404 when there is none, 400 for a cut in the future.
    """
    system = system_of(request)
    portfolio_id = portfolio_of(system, name)
    _must_not_be_ahead(system, portfolio_id, past)
    with system.past.reading(portfolio_id, past, needed) if past else system.book.reading(portfolio_id) as reading:
        if next(iter(reading.rows.where(PortfolioView)), None) is None:
            when = f" at {time_text(past.known_at)}" if past.known_at else ""
            raise Problem(404, "unknown-portfolio", f"there is no portfolio called {name!r}{when}")
        request.state[POSITION] = reading.position
        yield reading


def _must_not_be_ahead(system: System, portfolio_id: UUID, past: PointInTime) -> None:
    """Raises Problem 400 for a time that neither the machine's clock nor the portfolio's market has reached."""
    if past.as_of is None:
        return
    now = max(system.clock(), clock_of(system, portfolio_id)())
    if past.as_of > now:
        detail = f"as_of: {time_text(past.as_of)} is not there yet, it is {time_text(now)}: ask for a time up to now"
        raise Problem(400, "bad-time", detail)


def story_of(reading: StoredReading, position: int, past: PointInTime) -> list[EventAnswer]:
    """All events of the story that the event at `position` belongs to, as far as `past` holds them, in order."""
    found = read_page(reading.connection, reading.portfolio_id, position - 1, 1)
    if not found:
        return []
    story = read_story(reading.connection, reading.portfolio_id, found[0].correlation_id)
    return [EventAnswer.model_validate(one) for one in story if past.holds(one)]


def is_driven(system: System, reading: StoredReading) -> bool:
    """Whether this program's market moves the portfolio; of another one it knows the log only."""
    return reading.portfolio_id == system.portfolio_id


def clock_of(system: System, portfolio_id: UUID) -> Clock:
    """What tells the time in the portfolio: its market where this program drives it, the machine's clock elsewhere."""
    return system.market_clock if portfolio_id == system.portfolio_id else system.clock


def driven_only(system: System, name: str | None) -> UUID:
    """The portfolio this program trades for. Raises Problem 409 for another one."""
    if name not in (None, system.portfolio_name):
        detail = (
            f"this program trades for {system.portfolio_name!r}; start it with that portfolio's feed to trade there"
        )
        raise Problem(409, "not-driven-here", detail)
    return system.portfolio_id


def cursor_of(cursor: str | None) -> int | None:
    """The position a cursor stands for. Raises Problem 400 for one that was never given out."""
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Problem(400, "bad-cursor", "cursor must be the next_cursor of an earlier answer")
    return int(cursor)


def page_of(found: Sequence[P], size: int) -> tuple[Sequence[P], str | None]:
    """The page and the cursor of the next one, from rows of which one more than `size` was asked for."""
    page = found[:size]
    return page, str(page[-1].position) if len(found) > size else None


def limit_of_page(limit: int) -> int:
    """The page size asked for. Raises Problem 400 outside 1 to 500."""
    if not 1 <= limit <= 500:
        raise Problem(400, "bad-limit", "limit must be between 1 and 500")
    return limit


def only_parameters(request: AnyRequest, *allowed: str) -> None:
    """Raises Problem 400 for a query parameter that this route does not know or has twice: none is silently ignored."""
    given = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        known = ", ".join(allowed) or "none"
        raise Problem(400, "unknown-parameter", f"{unknown[0]} is no parameter of this route (it knows: {known})")
    if len(given) != len(set(given)):
        raise Problem(400, "repeated-parameter", "each parameter may be given once")
    if any("\0" in str(value) for value in (*request.query_params.values(), *request.path_params.values())):
        raise Problem(400, "invalid-request", "no parameter may hold the character NUL")
