"""Show a run as tables on a terminal."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.comparison import Change
from benchmarks.contestants import OURS
from benchmarks.floors import measured
from benchmarks.metrics import METRICS
from benchmarks.ratios import Key, Spread, compared, figures, ratios
from benchmarks.rounds import Sample
from benchmarks.storage import Run
from benchmarks.workloads import WORKLOADS, Workload


def show(run: Run, console: Console) -> None:
    """Print the machine, the ratios, the floors, and what failed."""
    show_settings(run, console)
    console.print(ratio_table(run))
    show_floors(run.samples, console)
    show_failures(run.samples, console)


def show_settings(run: Run, console: Console) -> None:
    """Print what was measured on, and which contestants wrote a log meanwhile."""
    for name, value in run.machine.items():
        console.print(f"[bold]{name:>13}[/]  {value}", highlight=False)
    logged = ", ".join(contestant.name for contestant in run.contestants if contestant.logs)
    console.print(f"[bold]{'log on for':>13}[/]  {logged or 'none'}", highlight=False)
    if run.started:
        started = escape(json.dumps(run.started))
        console.print(f"[bold]{'started':>13}[/]  {started}", highlight=False)


def ratio_table(run: Run) -> Table:
    """Return ours to each peer's: the median of the rounds, and from the least to the most."""
    own, to_peers = figures(run.samples), ratios(run.samples)
    names = [c.name for c in run.contestants if any(key[2] == c.name for key in to_peers)]
    table = Table(title="Ours to each peer's of the same round: median, least to most")
    table.add_column("workload")
    table.add_column("figure")
    for name in (OURS, *names):
        table.add_column(name, justify="right")
    for workload in WORKLOADS:
        add_rows(table, workload, names, own, to_peers)
    return table


def add_rows(
    table: Table,
    workload: Workload,
    names: Sequence[str],
    own: dict[Key, Spread],
    to_peers: dict[Key, Spread],
) -> None:
    """Add a workload's rows, one for each of its metrics."""
    for metric in workload.metrics:
        spread = own.get((workload.name, metric, OURS))
        if spread is None:
            continue
        ours = METRICS[metric].shown(spread.median)
        cells = [shown(to_peers.get((workload.name, metric, name))) for name in names]
        table.add_row(workload.title, METRICS[metric].title, ours, *cells)


def shown(spread: Spread | None) -> str:
    """Return a ratio's cell."""
    if spread is None:
        return "–"
    return f"[bold]{spread.median:.2f}[/] [dim]{spread.least:.2f}–{spread.most:.2f}[/]"


def show_floors(samples: Sequence[Sample], console: Console) -> None:
    """Print what was asked for beside what was measured."""
    table = Table(title="Floors")
    for name in ("workload", "figure", "to", "asked", "measured", "holds"):
        table.add_column(name)
    for floor, spread in measured(figures(samples), ratios(samples)):
        asked = ("≥ " if floor.at_least else "≤ ") + floor.shown(floor.bound)
        verdict = "[green]yes[/]" if floor.holds(spread.median) else "[red]no[/]"
        seen = f"{floor.shown(spread.median)}"
        title = METRICS[floor.metric].title
        table.add_row(floor.workload, title, floor.peer, asked, seen, verdict)
    if table.row_count:
        console.print(table)


def show_failures(samples: Iterable[Sample], console: Console) -> None:
    """Print what could not be measured, and every log that is not complete."""
    for sample in samples:
        where = f"round {sample.round}, {sample.workload}, {sample.contestant}"
        if sample.failed:
            console.print(f"failed: {where}: {sample.failed}", markup=False, highlight=False)
        elif not complete(sample.log):
            console.print(f"log not complete: {where}: {sample.log}", markup=False, highlight=False)


def complete(log: dict[str, Any]) -> bool:
    """Return whether every session in a log has its end, and nothing was dropped."""
    return not log.get("dropped") and log.get("accepted") == log.get("closed")


def tell(console: Console, sample: Sample) -> None:
    """Print one sample, when it is there."""
    seen = [f"{METRICS[m].title} {METRICS[m].shown(v)}" for m, v in compared(sample).items()]
    text = sample.failed or "; ".join(seen)
    head = f"{sample.round}  {sample.workload:<14}  {sample.contestant:<8}"
    console.print(f"{head}  {text}", markup=False, highlight=False)


def show_changes(changes: Sequence[Change], tolerance: float, console: Console) -> None:
    """Print each ratio then and now."""
    table = Table(title=f"Ratios then and now; worse: under {1 - tolerance:.2f}, in every round")
    for name in ("workload", "figure", "to", "stored", "now", "factor", ""):
        table.add_column(name)
    for change in changes:
        workload, metric, peer = change.key
        verdict = "[red]worse[/]" if change.is_worse(tolerance) else ""
        then, now = shown(change.stored), shown(change.fresh)
        cells = (METRICS[metric].title, peer, then, now, f"{change.factor:.2f}", verdict)
        table.add_row(workload, *cells)
    console.print(table)
