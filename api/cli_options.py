"""What the commands share: options, and failures said in one sentence."""

import re
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from typing import Final, NoReturn, ParamSpec

import rich_click as click

from api.account_failures import BadAccount
from api.backtest_failures import BadBacktest, NoCharts
from api.keys import BadKey
from api.proofs import BadTarget
from api.settings import BadSettings
from api.views_behind import ViewsBehind
from api.webhooks import BadWebhook
from ledger.beancount_export import CannotExport
from ledger.chain import BrokenLog
from ledger.checkpoints import BadCheckpoint
from ledger.cuts import Cut
from ledger.database import DATABASE_GONE, NewerSchema
from ledger.embedded_postgres import DatabaseUnavailable
from ledger.files import BadFile
from ledger.importing import WrongPortfolio
from ledger.leaders import NotLeader
from ledger.log import NoSuchPortfolio
from ledger.parquet_export import NoParquet
from ledger.projections.reversals import NothingToReverse
from ledger.values import Asset, utc_time
from ledger.what_if import BadChoice
from migrations.legacy.decisions import BadDecisions
from migrations.legacy.source import BadSource
from signals.bot_package import BadBot
from signals.bot_process import BotRaised
from signals.freqtrade_rest import FreqtradeUnavailable
from signals.installed import BotUnusable
from signals.market import BadCandle, BadFeed, FeedUnavailable

P = ParamSpec("P")
FAILURES: Final = (
    BadSettings,
    BadAccount,
    BadKey,
    BadWebhook,
    FreqtradeUnavailable,
    BadTarget,
    DatabaseUnavailable,
    NewerSchema,
    BrokenLog,
    NoSuchPortfolio,
    NotLeader,
    BadFile,
    BadChoice,
    NothingToReverse,
    WrongPortfolio,
    BadCheckpoint,
    CannotExport,
    NoParquet,
    ViewsBehind,
    BadFeed,
    BadCandle,
    FeedUnavailable,
    BadBot,
    BotUnusable,
    BotRaised,
    BadBacktest,
    NoCharts,
    BadSource,
    BadDecisions,
)


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with known failures said in one sentence on standard error and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FAILURES as failure:
            fail(str(failure))
        except DATABASE_GONE:
            fail("the database went away while the command ran: see that it runs (daybook doctor), then try again")
        except OSError as failure:
            fail(f"{failure.filename or 'the system'}: {failure.strerror}")

    return run


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
        command(*args, past=Cut(as_of, known_at), **kwargs)

    return run
