"""`daybook bot test`: whether a bot keeps the rules, and which it breaks."""

import json
from dataclasses import asdict, dataclass

import click

from signals.testkit.trial import found_bots, parameters_from, tried


@dataclass(frozen=True, slots=True)
class Tested:
    """One bot that was asked, and what it did that it must not do."""

    kind: str
    version: str
    breaches: list[str]


def print_test(what: str, params: str, *, as_json: bool) -> int:
    """The exit code, 0 when every rule is kept. Raises BadBot and BotUnusable for what cannot be asked."""
    found = [
        Tested(bot.kind, bot.version, tried(bot, parameters_from(bot, params), code)) for bot, code in found_bots(what)
    ]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
    else:
        for one in found:
            count = len(one.breaches)
            said = f"breaks {count} {'rule' if count == 1 else 'rules'}:" if count else "keeps every rule."
            click.echo("\n  ".join([f"{one.kind} (version {one.version}) {said}", *one.breaches]))
    return 1 if any(one.breaches for one in found) else 0
