"""`daybook performance`: returns, risk and trading figures of a stored portfolio."""

from collections.abc import Iterator, Mapping

import rich_click as click

from api.cli.options import IN_PORTFOLIO, at_any_time
from api.http.performance import PerformanceAnswer, performance_answer
from api.runtime.portfolios import stored_portfolio
from api.runtime.settings import Settings, load_settings
from ledger.log.point_in_time import PointInTime


@click.command()
@IN_PORTFOLIO
@at_any_time
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: that of GET /api/v1/portfolio/performance."
)
def performance(portfolio: str, past: PointInTime, as_json: bool) -> None:
    """Returns, risk and trading figures of a portfolio since it was opened, computed from its log.

    docs/performance.md defines each figure; an undefined or unknown one is shown as none. Exit codes: 0 done, 1 failure,
    2 usage.

    Example: daybook performance --portfolio mine --as-of 2026-01-01T00:00:00Z
    """
    print_performance(load_settings(), portfolio, past, as_json=as_json)


def print_performance(settings: Settings, portfolio: str, past: PointInTime, *, as_json: bool) -> None:
    """Print the answer of `GET /api/v1/portfolio/performance`. Raises BadSettings and ViewsBehind."""
    with stored_portfolio(settings, portfolio, past) as reading:
        answer = performance_answer(reading, past)
    click.echo(answer.model_dump_json(indent=2) if as_json else "\n".join(_answer_lines(answer)))


def _answer_lines(answer: PerformanceAnswer) -> Iterator[str]:
    """One line for each figure and each note; undefined or unknown figures read "none"."""
    figures = answer.model_dump(mode="json", exclude={"portfolio_id", "notes", "closed_lots"})
    yield from _lines(figures)
    yield "closed lots"
    yield from _lines(answer.closed_lots.model_dump(mode="json"), "  ")
    for note in answer.notes:
        yield f"note: {note}"


def _lines(figures: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for name, value in figures.items():
        yield f"{indent + name.replace('_', ' '):<24} {'none' if value is None else value}"
