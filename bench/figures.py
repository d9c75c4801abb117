"""A measured figure and how a list of them is printed."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`, and the raw limit it is compared with (None for a limit itself)."""

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
    """How many of `count` things a second `work` does, by this clock."""
    started = clock()
    work()
    return Figure(name, count / (clock() - started), unit, limit)


def peak_memory_mb() -> float:
    """Peak memory of this process in MB, database server not included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor_seconds() -> float:
    """Processor time of this process in seconds, database server not included."""
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def print_figures(figures: list[Figure]) -> None:
    """One line each: name, value, and the share of the raw limit."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        line = f"{figure.name:<{width}}  {figure.value:>12,.0f} {figure.unit}"
        if figure.limit is not None:
            line += f"  = {figure.value / figure.limit.value:.3f} of {figure.limit.name}"
        print(line)
