"""A leader that is suspended within a transaction, like a stopped process or a paused machine.

    python -m tests.campaigns.frozen_program URL NAME SILENCE

It leads the portfolio of the room NAME and stores a signal; between append and commit it suspends itself (SIGSTOP). When
it is resumed it prints the outcomes of the recording and of the next confirmation.
"""

import os
import signal
import sys
from collections.abc import Callable

from ledger.locks import NotLeader
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import DATABASE_GONE, WRITER, engine_for
from ledger.postgres.leadership import PostgresLeadership
from ledger.postgres.log import Raw
from ledger.values import derived_id, system_clock


def main(url: str, name: str, silence: str) -> None:
    """Print `outcome: text` for the recording and for the confirmation after it, one line each."""
    engine = engine_for(url, WRITER, silence)
    book, portfolio_id = PostgresBook(engine, system_clock), derived_id("room", name)
    leader = PostgresLeadership(book, engine, portfolio_id, "the frozen one", system_clock, silence)
    last = list(book.log.read(portfolio_id))[-1]
    new_id = derived_id("frozen", name)
    event = NewEvent(last.event, new_id, last.occurred_at, "test", new_id)
    say(lambda: leader.record([event], alongside=stand_still))
    say(leader.confirm)


def stand_still(_connection: Raw) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def say(act: Callable[[], object]) -> None:
    try:
        act()
    except (*DATABASE_GONE, NotLeader) as error:
        sys.stdout.write(f"{type(error).__name__}: {error}".splitlines()[0] + "\n")
    else:
        sys.stdout.write("done: nothing was in its way\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
