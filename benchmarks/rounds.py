"""Run every contestant in turn, round after round, so that a noisy moment falls on all."""

import fnmatch
import itertools
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contestants import OURS, QUIET
from benchmarks.loadgen import Figures, LoadError
from benchmarks.servers import Contestant, ServerError, running
from benchmarks.workloads import Timing, Workload


@dataclass(frozen=True)
class Sample:
    """What one workload gave with one contestant in one round."""

    round: int
    workload: str
    contestant: str
    figures: Figures
    failed: str = ""
    """Why there are no figures."""
    log: dict[str, Any] = field(default_factory=dict)
    """How many sessions the contestant's log shows, and `server.started`."""


def run(
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    rounds: int,
    timing: Timing,
    tell: Callable[[Sample], None],
) -> list[Sample]:
    """Measure everything: in each round, for each workload, one contestant after the other.

    What a peer can't do it is asked for once, as finding that out takes the whole limit.
    """
    samples: list[Sample] = []
    given_up: set[tuple[str, str]] = set()
    for number, workload, contestant in itertools.product(
        range(1, rounds + 1), workloads, contestants
    ):
        pair = (workload.name, contestant.name)
        if pair not in given_up and takes_part(contestant, workload):
            samples.append(measure(number, workload, contestant, timing))
            tell(samples[-1])
            if samples[-1].failed and contestant.name != OURS:
                given_up.add(pair)
    return samples


def takes_part(contestant: Contestant, workload: Workload) -> bool:
    """Return whether the workload is for this contestant, and the contestant for it."""
    if workload.only is not None:
        return contestant.name in workload.only
    fits = any(fnmatch.fnmatch(workload.name, pattern) for pattern in contestant.workloads)
    return fits and contestant.name != QUIET


def measure(number: int, workload: Workload, contestant: Contestant, timing: Timing) -> Sample:
    """Measure one workload; a contestant that can't do it has a sample that says why."""
    try:
        with running(contestant) as server:
            figures = workload.measure(server, timing)
    except (LoadError, ServerError, OSError, subprocess.TimeoutExpired) as error:
        return Sample(number, workload.name, contestant.name, {}, failed=str(error))
    return Sample(number, workload.name, contestant.name, figures, log=server.log)
