"""One stored portfolio for commands that read it and end."""

from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.replaying import named_portfolios
from api.runtime.settings import BadSettings, Settings, usable_folder
from api.runtime.views_behind import ViewsBehind
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.database import open_database
from ledger.projections import OF_VALUE
from ledger.projections.portfolio import PortfolioView
from ledger.replay.history import History
from ledger.replay.verify import all_portfolios, rebuild_outdated
from ledger.values import system_clock


@contextmanager
def stored_portfolio(settings: Settings, name: str, past: PointInTime) -> Iterator[StoredReading]:
    """The rows of value of the portfolio with this name or id, all at one moment: up to the end of its log, or at a cut.

    Views that another version of Daybook made are rebuilt first. Raises BadSettings when there is (or then was) no such
    portfolio, ViewsBehind when its views stopped.
    """
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        chosen = named_portfolios(all_portfolios(engine), name)
        if not chosen:
            raise BadSettings(f"there is no portfolio called {name!r}: daybook replay lists them")
        rebuild_outdated(engine)
        found = (
            History(engine).reading(chosen[0], past, OF_VALUE)
            if past
            else PostgresBook(engine, system_clock).reading(chosen[0])
        )
        with found as reading:
            if next(reading.rows.where(PortfolioView), None) is None:
                raise BadSettings(f"there was no portfolio called {name!r} yet at that time")
            if reading.stopped is not None:
                why = f"stopped before position {reading.stopped.position} ({reading.stopped.reason})"
                raise ViewsBehind(f"the views of {name!r} {why}: see daybook replay --verify")
            yield reading
