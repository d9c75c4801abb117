"""Stored portfolios by name, for commands that open the ledger, work and end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from sqlalchemy import Engine

from api.runtime.settings import BadSettings, Settings, usable_folder
from ledger.errors import DaybookError
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.database import open_database
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.portfolio import PortfolioView, portfolio_id_of
from ledger.replay.history import History
from ledger.replay.verify import all_portfolios, rebuild_outdated
from ledger.values import system_clock


class ViewsBehind(DaybookError):
    """The stored views of a portfolio lag behind its log, so its figures cannot be trusted."""


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Engine]:
    """Open and migrate the database. Raises BadSettings for an unusable data folder."""
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        yield engine


def chosen_portfolios(engine: Engine, name: str | None) -> list[UUID]:
    """Return the portfolios with this name or id, or all. Raises BadSettings for an unknown name."""
    known = all_portfolios(engine)
    chosen = known if name is None else named_portfolios(known, name)
    if name is not None and not chosen:
        raise BadSettings(f"there is no portfolio called {name!r}: daybook replay lists them")
    return chosen


def named_portfolios(known: Sequence[UUID], name: str) -> list[UUID]:
    """Return those of `known` with this name or id."""
    wanted = {portfolio_id_of(name)}
    with suppress(ValueError):
        wanted.add(UUID(name))
    return [one for one in known if one in wanted]


def portfolio_id_for(name: str, known: Sequence[UUID]) -> UUID:
    """Return `name` as an id if a known portfolio has it, else the id of the portfolio called `name`, open or not."""
    return next((one for one in known if str(one) == name.lower()), portfolio_id_of(name))


@contextmanager
def stored_portfolio(settings: Settings, name: str, past: PointInTime) -> Iterator[StoredReading]:
    """Open the portfolio with this name or id, at the end of its log or at a point in time.

    Rebuilds views of another version of Daybook first. Raises BadSettings if the portfolio does not (or did not yet)
    exist, ViewsBehind if its views stopped.
    """
    with open_ledger(settings) as engine:
        portfolio_id = chosen_portfolios(engine, name)[0]
        rebuild_outdated(engine)
        found = (
            History(engine).reading(portfolio_id, past, VALUE_PROJECTIONS)
            if past
            else PostgresBook(engine, system_clock).reading(portfolio_id)
        )
        with found as reading:
            if next(reading.rows.where(PortfolioView), None) is None:
                raise BadSettings(f"the portfolio {name!r} did not exist yet at that time")
            if reading.stopped is not None:
                state = f"stopped before position {reading.stopped.position} ({reading.stopped.reason})"
                raise ViewsBehind(f"the views of {name!r} {state}: see daybook replay --verify")
            yield reading
