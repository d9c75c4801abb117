"""`daybook bot`: kinds of bot, written, tested, and those of other packages allowed to run."""

import sys
from pathlib import Path

import rich_click as click

from api.cli.options import one_sentence
from api.runtime.settings import load_settings


@click.group()
def bot() -> None:
    """Write bots, test them, and say which of other packages may run.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot new momentum && daybook bot test momentum
    """


@bot.command()
@click.option("--portfolio", metavar="NAME", help="Where they were enabled (the one that daybook serve drives).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@one_sentence
def kinds(portfolio: str | None, as_json: bool) -> None:
    """List the kinds of bot: built in, installed by other packages, and which of those may run.

    No package's code is run for it. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot kinds --json
    """
    from api.cli.bot_kinds import print_kinds

    print_kinds(load_settings(), portfolio, as_json=as_json)


@bot.command()
@click.argument("name")
@click.option(
    "--in", "folder", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where; here by default."
)
@one_sentence
def new(name: str, folder: Path) -> None:
    """Write a package with a bot called NAME: its code, parameters, tests and entry point.

    Exit codes: 0 done, 1 a name or a place that cannot be used, 2 usage.

    Example: daybook bot new momentum --in ~/bots
    """
    from signals.registry import BUILT_IN
    from signals.testkit.scaffold import write_package

    for path in write_package(name, folder, BUILT_IN):
        click.echo(path)


@bot.command()
@click.argument("what", metavar="KIND|PATH")
@click.option("--params", metavar="JSON", default="{}", help="Its parameters; the defaults where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@one_sentence
def test(what: str, params: str, as_json: bool) -> None:
    """Ask a bot everything that shows whether it keeps the rules: no future, clock, chance or memory.

    PATH is a Python file or a package's folder. Its code is run.

    Exit codes: 0 it keeps them, 1 it breaks one (each is named) or cannot be asked, 2 usage.

    Example: daybook bot test momentum/ --params '{"length": 5}'
    """
    from api.cli.bot_testing import print_test

    sys.exit(print_test(what, params, as_json=as_json))


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="For which portfolio (the one that daybook serve drives).")
@one_sentence
def enable(kind: str, portfolio: str | None) -> None:
    """Let the installed code of KIND run as it is now, in a process of its own. Read it first: it runs as you.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot enable momentum
    """
    from api.cli.bot_kinds import enable_kind

    click.echo(enable_kind(load_settings(), kind, portfolio))


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="For which portfolio (the one that daybook serve drives).")
@click.option("--reason", metavar="TEXT", default="", help="Why; it stays in the log.")
@one_sentence
def disable(kind: str, portfolio: str | None, reason: str) -> None:
    """Let the code of KIND run no more; bots of this kind fail at their next candle.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot disable momentum --reason "too loud"
    """
    from api.cli.bot_kinds import disable_kind

    click.echo(disable_kind(load_settings(), kind, portfolio, reason))
