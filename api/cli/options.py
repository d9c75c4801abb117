"""Options that several commands share, and messages on standard error. Imports nothing that is slow to load."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import wraps
from typing import TYPE_CHECKING, Final, NoReturn

import rich_click as click

if TYPE_CHECKING:
    from rich.progress import Progress


def fail(sentence: str) -> NoReturn:
    """Ends the command with the sentence and exit code 1."""
    warn(sentence)
    sys.exit(1)


def warn(sentence: str) -> None:
    """The sentence is on standard error, in one line whatever is quoted in it."""
    click.echo(f"daybook: {' '.join(sentence.split())}", err=True)


def asset(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The option's value, which is an asset. Raises BadParameter, which is wrong usage."""
    from ledger.values import Asset

    try:
        return None if value is None else Asset(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """The option's value, which is a time with a zone. Raises BadParameter, which is wrong usage."""
    from ledger.values import utc_time

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
        from ledger.log.point_in_time import PointInTime

        command(*args, past=PointInTime(as_of, known_at), **kwargs)

    return run


def counted(count: int, noun: str) -> str:
    """Return the count with its noun in the right number: `1 row`, `2 rows`, `2 entries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


@contextmanager
def progress_bar(task: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal's standard error. Yields a function that takes the number of further steps."""
    with _bar(shown) as bar:
        number = bar.add_task(task, total=total)
        yield lambda steps: bar.advance(number, steps)


@contextmanager
def progress_of(task: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar like `progress_bar`. Yields a function that takes the steps done and the total."""
    with _bar(shown) as bar:
        number = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(number, completed=done, total=total)


def _bar(shown: bool) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
