"""Options shared by several commands, messages and progress bars. Imports nothing that is slow to load."""

import json
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


def fail(message: str) -> NoReturn:
    """Print the message to standard error and exit with code 1."""
    warn(message)
    sys.exit(1)


def warn(message: str) -> None:
    """Print the message to standard error, in one line."""
    click.echo(f"daybook: {' '.join(message.split())}", err=True)


def asset(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Parse an asset. Raises BadParameter."""
    from ledger.values import Asset

    try:
        return None if value is None else Asset(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse a time with a zone. Raises BadParameter."""
    from ledger.values import utc_time

    try:
        return None if value is None else utc_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def month_and_day(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """Parse MM-DD, a day of every year, as month and day. Raises BadParameter."""
    found = re.fullmatch(r"(\d\d)-(\d\d)", value, re.ASCII)
    try:
        day = date(2001, *map(int, found.groups())) if found else None
    except ValueError:
        day = None
    if day is None:
        raise click.BadParameter(f"{value[:20]!r} must be a day of every year such as 04-06")
    return day.month, day.day


METHODS: Final = click.Choice(["fifo", "lifo", "hifo"])
DAYS: Final = click.IntRange(0, 36_500)
IN_PORTFOLIO: Final = click.option("--portfolio", metavar="NAME", required=True, help="The portfolio's name or id.")
ONE_PORTFOLIO: Final = click.option(
    "--portfolio", metavar="NAME", help="Only this portfolio (name or id); all by default."
)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
AS_JSON_LIST: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")


def at_any_time(command: Callable[..., None]) -> Callable[..., None]:
    """Add --as-of and --known-at to a command; passed on as a `PointInTime`, `past`."""

    @click.option("--as-of", metavar="TIME", callback=moment, help="Only events up to this time.")
    @click.option("--known-at", metavar="TIME", callback=moment, help="Only events recorded by this time.")
    @wraps(command)
    def run(*args: object, as_of: datetime | None, known_at: datetime | None, **kwargs: object) -> None:
        from ledger.log.point_in_time import PointInTime

        command(*args, past=PointInTime(as_of, known_at), **kwargs)

    return run


def echo_json(value: object) -> None:
    """Print the value as indented JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


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
