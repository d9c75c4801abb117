"""What the commands share: options, and failures said in one sentence."""

import re
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from types import ModuleType
from typing import Final, NoReturn, ParamSpec

import rich_click as click

from ledger.log.point_in_time import PointInTime
from ledger.values import Asset, utc_time

P = ParamSpec("P")


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with known failures said in one sentence on standard error and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except _known().FAILURES as failure:
            fail(str(failure))
        except _known().DATABASE_GONE:
            fail("the database went away while the command ran: see that it runs (daybook doctor), then try again")
        except OSError as failure:
            fail(f"{failure.filename or 'the system'}: {failure.strerror}")

    return run


def _known() -> ModuleType:
    # Looked at only when something went wrong: it knows every room, and commands are to begin at once.
    from api.cli import known_failures

    return known_failures


def fail(sentence: str) -> NoReturn:
    """Ends the command with the sentence and exit code 1."""
    warn(sentence)
    sys.exit(1)


def warn(sentence: str) -> None:
    """The sentence is on standard error, in one line whatever is quoted in it."""
    click.echo(f"daybook: {' '.join(sentence.split())}", err=True)


def asset(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The option's value, which is an asset. Raises BadParameter, which is wrong usage."""
    try:
        return None if value is None else Asset(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """The option's value, which is a time with a zone. Raises BadParameter, which is wrong usage."""
    try:
        return None if value is None else utc_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def month_and_day(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """The option's value, a day that every year has, as month and day. Raises BadParameter."""
    found = re.fullmatch(r"(\d\d)-(\d\d)", value, re.ASCII)
    try:
        day = date(2001, *map(int, found.groups())) if found else None
    except ValueError:
        day = None
    if day is None:
        raise click.BadParameter(f"{value[:20]!r} is no day of every year such as 04-06")
    return day.month, day.day


METHODS: Final = click.Choice(["fifo", "lifo", "hifo"])
DAYS: Final = click.IntRange(0, 36_500)
IN_PORTFOLIO: Final = click.option("--portfolio", metavar="NAME", required=True, help="Its name or id.")


def at_any_time(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command the options --as-of and --known-at, which reach it as `past`."""

    @click.option("--as-of", metavar="TIME", callback=moment, help="What had happened by then.")
    @click.option("--known-at", metavar="TIME", callback=moment, help="As far as it was recorded by then.")
    @wraps(command)
    def run(*args: object, as_of: datetime | None, known_at: datetime | None, **kwargs: object) -> None:
        command(*args, past=PointInTime(as_of, known_at), **kwargs)

    return run
