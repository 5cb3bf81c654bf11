"""Does one daemon's rate grow with the cores it may use? `python -m benchmarks.cores`.

The daemon gets the first one, two, four … cores, and the load generator half of the machine for
itself, so that the daemon is the limit. It needs at least four cores.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from benchmarks import build, machine
from benchmarks.contestants import OURS, SERVE
from benchmarks.servers import Contestant, Server, running

ROUNDS = 3
SESSIONS = (100, 1000)


def main() -> None:
    """Print the median rate for each number of cores, with the least and the greatest."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    if half < 2:
        sys.exit("benchmarks.cores: needs at least four cores")
    machine.raise_descriptor_limit()
    build.build_all()
    print(machine.describe()["machine"])
    count = 1
    while count <= half:
        daemon = Contestant(OURS, f"{count} cores", (*on(cores[:count]), *SERVE))
        with running(daemon) as server:
            for sessions in SESSIONS:
                rates = [rate(server, sessions, cores[half:]) for _ in range(ROUNDS)]
                print(
                    f"{count} cores, {sessions:,} sessions: {statistics.median(rates):,.0f} "
                    f"round trips a second ({min(rates):,.0f}–{max(rates):,.0f})",
                    flush=True,
                )
        count *= 2


def on(cores: list[int]) -> tuple[str, ...]:
    """Return the words that keep a command on some cores."""
    return ("taskset", "-c", ",".join(map(str, cores)))


def rate(server: Server, sessions: int, cores: list[int]) -> float:
    """Measure once, with a thread of the generator for each of its cores."""
    words = (build.LOADGEN, "rtt", "--port", server.port, "--threads", len(cores))
    timing = ("--duration", 1.5, "--warmup", 0.4, "--sessions", sessions, "--size", 512)
    done = subprocess.run(
        [*on(cores), *map(str, words + timing)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return float(json.loads(done.stdout)["per_s"])


if __name__ == "__main__":
    main()
