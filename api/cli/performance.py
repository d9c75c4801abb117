"""`daybook performance`: how a stored portfolio has done."""

import rich_click as click

from api.cli.options import IN_PORTFOLIO, at_any_time
from api.runtime.settings import load_settings
from ledger.log.point_in_time import PointInTime


@click.command()
@IN_PORTFOLIO
@at_any_time
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: that of GET /api/v1/portfolio/performance."
)
def performance(portfolio: str, past: PointInTime, as_json: bool) -> None:
    """Returns, risk and trading figures of a portfolio's whole life, computed from its log.

    docs/performance.md defines each figure; one that is undefined or unknown is none. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook performance --portfolio mine --as-of 2026-01-01T00:00:00Z
    """
    from api.cli.performance_printing import print_performance

    print_performance(load_settings(), portfolio, past, as_json=as_json)
