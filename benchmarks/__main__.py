"""The command: ``python -m benchmarks``."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from benchmarks import build, comparison, contestants, machine, plot, report, rounds, storage
from benchmarks.servers import Contestant
from benchmarks.workloads import QUICK, Timing, chosen

WIDTH = 170
"""Columns of a table where the output is no terminal."""
QUICK_ROUNDS, QUICK_DURATION_S, QUICK_PEERS = 3, 1.0, ("threads", "uvloop")

Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]

app = App(name="python -m benchmarks", version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured, and how long."""

    rounds: int = 5
    """How often everything is measured; each ratio is of one round."""
    duration: float = 3.0
    """Seconds that a rate is measured."""
    workloads: Names = ()
    """Those to run, such as ``rtt-1`` or ``'rtt-*'``; all by default."""
    peers: Names = ()
    """Those to run; all that this machine can by default."""
    quick: Annotated[bool, Parameter(negative="")] = False
    """Three rounds of one second, of a few workloads, beside two peers."""
    ours: str | None = None
    """A command to run in the daemon's place; the port is appended to it."""

    def shortened(self) -> "Options":
        """Return the quick form: what was asked for explicitly stays."""
        return replace(
            self,
            quick=True,
            rounds=min(self.rounds, QUICK_ROUNDS),
            duration=min(self.duration, QUICK_DURATION_S),
            workloads=self.workloads or QUICK,
            peers=self.peers or QUICK_PEERS,
        )


@app.default
def main(
    options: Annotated[Options, Parameter(name="*")] = Options(),
    *,
    compare: Path | None = None,
    tolerance: float = 0.15,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    svg: Path | None = None,
) -> int:
    """Run the daemon and each peer in turn, and report medians of ratios.

    Args:
        options: What is measured.
        compare: A stored result. Does the quick form, and exits with 1 if a ratio got worse.
        tolerance: How much worse than the stored one a ratio may be; 0.15 is 15 %.
        output: Where the result is stored, as JSON.
        svg: Where the plot is written.

    """
    stored = storage.read(compare) if compare else None
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    run = measure(options.shortened() if options.quick or stored else options)
    report.show(run, console)
    if output:
        storage.write(run, output)
    if svg:
        svg.write_text(plot.draw(run))
    return report_changes(stored, run, tolerance, console) if stored else 0


def measure(options: Options) -> storage.Run:
    """Build what has to be built, and measure."""
    machine.raise_descriptor_limit()
    build.build_all()
    entrants = entered(options)
    described = machine.describe()
    samples = rounds.run(
        entrants,
        chosen(options.workloads),
        options.rounds,
        Timing(options.duration, warmup=min(1.0, options.duration / 2)),
        partial(report.tell, Console(stderr=True, width=WIDTH)),
    )
    return storage.Run(described, asdict(options), entrants, samples)


def entered(options: Options) -> Sequence[Contestant]:
    """Return ours and the peers that were asked for.

    Raises:
        ValueError: this machine has no such peer.

    """
    known = {peer.name: peer for peer in contestants.peers()}
    for name in options.peers:
        if name not in known:
            raise ValueError(f"there is no peer {name} here; there are {', '.join(known)}")
    ours = contestants.stand_in(options.ours) if options.ours else contestants.daemon()
    return [*ours, *(known[name] for name in options.peers or known)]


def report_changes(
    stored: storage.Run, run: storage.Run, tolerance: float, console: Console
) -> int:
    """Print how the ratios changed, and return 1 if one got worse."""
    changes = comparison.changes(stored.samples, run.samples)
    report.show_changes(changes, tolerance, console)
    return int(any(change.is_worse(tolerance) for change in changes))


if __name__ == "__main__":
    try:
        sys.exit(app())
    except ValueError as error:
        sys.exit(f"benchmarks: {error}")
