"""`daybook venue`: a simulated exchange to practise against."""

import json
import re
import signal
import threading
from decimal import Decimal

import rich_click as click

from api.cli.options import fail

VENUES = ("binance", "luno")


@click.command()
@click.argument("name", type=click.Choice(VENUES))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; a free one by default.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of its faults.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[=SECONDS]", help="A fault to begin with; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with address and key, then serve.")
def venue(name: str, port: int, seed: int, faults: tuple[str, ...], as_json: bool) -> None:
    """Run a simulated exchange on this machine until Ctrl-C: real HTTP and signatures, no market, no money.

    Orders are kept in memory; /control routes set prices and balances, fill orders and plan faults (see
    docs/venues.md). Exit codes: 0 stopped on request, 1 failure, 2 usage.

    Example: daybook venue binance --port 8801 --fault reset
    """
    from execution.exchanges.simulated.faults import planned_fault
    from execution.exchanges.simulated.server import KEY, SECRET, SimulatedVenue
    from ledger.values import system_clock

    try:
        planned = [planned_fault(*_name_and_seconds(each)) for each in faults]
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--fault") from None
    try:
        running = SimulatedVenue(name, system_clock, port, seed)
    except OSError as failure:
        fail(f"port {port} of 127.0.0.1 is not available ({failure.strerror}): choose another with --port")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    for each in planned:
        running.faults.plan(each)
    about = {"venue": name, "url": running.url, "key": KEY, "secret": SECRET, "instruments": running.instruments}
    sentence = f"Simulated {name} at {running.url}, key {KEY}, secret {SECRET}. Stop it with Ctrl-C."
    click.echo(json.dumps(about) if as_json else sentence)
    stopped.wait()
    running.stop()


def _name_and_seconds(fault: str) -> tuple[str, Decimal]:
    """Parse NAME[=SECONDS]. Raises ValueError."""
    name, equals, seconds = fault.partition("=")
    if equals and not re.fullmatch(r"-?\d{1,6}(\.\d{1,3})?", seconds, re.ASCII):
        raise ValueError(f"{seconds[:20]!r} is not a number of seconds")
    return name, Decimal(seconds or "0")
