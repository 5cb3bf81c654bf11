"""Does the rate grow with the processes? ``python -m benchmarks.processes``.

One to N daemons share a port, each on a processor and with a log of its own, while the load stays
the same. The generator needs processors, too: what they share they can't have twice.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import build, machine
from benchmarks.contestants import OURS, SERVE
from benchmarks.servers import Contestant, Server, await_first_echo, free_port, start, stop
from benchmarks.workloads import WARM_S, WORKLOADS, Timing, Workload, warm

MEASURED = ("churn-32", "rtt-10", "rtt-100")
TIMING = Timing(duration=3.0, warmup=WARM_S)


@contextlib.contextmanager
def sharing(processors: Sequence[int]) -> Iterator[Server]:
    """Run a daemon for each of these processors, all on one port."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        for processor in processors:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = start(on(processor), directory, port)
            stack.callback(stop, server.process)
            await_first_echo(server)
        yield server


def on(processor: int) -> Contestant:
    """Return the daemon that shares its port and stays on one processor."""
    words = ("--reuse-port", "--cpu", str(processor))
    return Contestant(OURS, f"on processor {processor}", (*SERVE, *words), logs=True)


def rate(workload: Workload, processors: Sequence[int]) -> float:
    """Measure one workload once."""
    with sharing(processors) as server:
        warm(server)
        return workload.measure(server, TIMING)["per_s"]


def main(rounds: int) -> None:
    """Print the median rates, and their ratios to those of one daemon."""
    machine.raise_descriptor_limit()
    build.build_all()
    processors = sorted(os.sched_getaffinity(0), reverse=True)
    console = Console(width=None if sys.stdout.isatty() else 100)
    for workload in (w for w in WORKLOADS if w.name in MEASURED):
        rates: dict[int, list[float]] = {}
        for _ in range(rounds):
            for count in range(1, len(processors) + 1):
                rates.setdefault(count, []).append(rate(workload, processors[:count]))
        console.print(table(workload.title, rates))


def table(title: str, rates: dict[int, list[float]]) -> Table:
    """Return one workload's rates; ratios are of the same round."""
    shown = Table("processes", "per second", "to one: median", "least", "most", title=title)
    for count, measured in rates.items():
        ratios = sorted(many / one for many, one in zip(measured, rates[1], strict=True))
        figures = (statistics.median(ratios), ratios[0], ratios[-1])
        middle = f"{statistics.median(measured):,.0f}"
        shown.add_row(str(count), middle, *(f"{figure:.2f}" for figure in figures))
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    main(parser.parse_args().rounds)
