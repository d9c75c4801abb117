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


def peak_memory_mb(who: int = resource.RUSAGE_SELF) -> float:
    """The most memory this process has held so far, in MB (the database server not included).

    With RUSAGE_CHILDREN: the most that any one process it started has held, of those that have ended.
    """
    return resource.getrusage(who).ru_maxrss / 1024


def processor_seconds() -> float:
    """What this process, and those it started that have ended, have computed so far (a running server not included)."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def print_figures(figures: list[Figure]) -> None:
    """One line each: name, value, and the share of the raw limit."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        line = f"{figure.name:<{width}}  {figure.value:>12,.0f} {figure.unit}"
        if figure.limit is not None:
            line += f"  = {figure.value / figure.limit.value:.3f} of {figure.limit.name}"
        print(line)
