"""`daybook performance`: the figures of a stored portfolio as JSON or as lines for people."""

from collections.abc import Iterator, Mapping

import click

from api.http.performance_schemas import PerformanceAnswer, performance_answer
from api.runtime.portfolios import stored_portfolio
from api.runtime.settings import Settings
from ledger.log.point_in_time import PointInTime


def print_performance(settings: Settings, portfolio: str, past: PointInTime, *, as_json: bool) -> None:
    """Prints what `GET /api/v1/portfolio/performance` answers. Raises what opening the portfolio raises."""
    with stored_portfolio(settings, portfolio, past) as reading:
        answer = performance_answer(reading, past)
    click.echo(answer.model_dump_json(indent=2) if as_json else "\n".join(performance_lines(answer)))


def performance_lines(answer: PerformanceAnswer) -> Iterator[str]:
    """A figure and its name to a line, none where it is undefined or unknown; then the notes."""
    figures = answer.model_dump(mode="json", exclude={"portfolio_id", "notes", "closed_lots"})
    yield from _lines(figures)
    yield "closed lots"
    yield from _lines(answer.closed_lots.model_dump(mode="json"), "  ")
    for note in answer.notes:
        yield f"note: {note}"


def _lines(figures: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for name, value in figures.items():
        yield f"{indent + name.replace('_', ' '):<24} {'none' if value is None else value}"
