"""Measured figures and their printing."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, and the raw limit it is compared with."""

    name: str
    value: float
    unit: str
    limit: "Figure | None" = None


def rate(
    name: str,
    unit: str,
    count: int,
    work: Callable[[], object],
    limit: Figure | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Figure:
    """Measure the rate of `work`, which processes `count` items."""
    started = clock()
    work()
    return Figure(name, count / (clock() - started), unit, limit)


def peak_memory_mb() -> float:
    """Peak memory of this process in MB, without the database server."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor_seconds() -> float:
    """CPU time of this process in seconds, without the database server."""
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def print_figures(figures: list[Figure]) -> None:
    """Print one line per figure: name, value and share of the raw limit."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        line = f"{figure.name:<{width}}  {figure.value:>12,.0f} {figure.unit}"
        if figure.limit is not None:
            line += f"  = {figure.value / figure.limit.value:.3f} of {figure.limit.name}"
        print(line)
