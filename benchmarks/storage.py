"""Keep a run as JSON: every sample, and the medians that follow from them for other readers."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import OURS
from benchmarks.ratios import Key, Spread, figures, ratios
from benchmarks.rounds import Sample
from benchmarks.servers import Contestant

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """Everything that was measured by one command, and what it was measured on."""

    machine: dict[str, str]
    options: dict[str, Any]
    contestants: Sequence[Contestant]
    samples: Sequence[Sample]

    @property
    def started(self) -> dict[str, Any]:
        """The daemon's own `server.started`, with the limits in force; empty for a stand-in."""
        lines = (s.log.get("started", {}) for s in self.samples if s.contestant == OURS)
        return next((line for line in lines if line), {})


def portable(word: str) -> str:
    """Return a word of a command as it is on any machine, without where things are on this one."""
    return "python" if word == sys.executable else word.removeprefix(f"{ROOT}/")


def write(run: Run, path: Path) -> None:
    """Write a run to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": run.machine,
        "options": run.options,
        "server_started": run.started,
        "contestants": [
            {**asdict(contestant), "command": [portable(word) for word in contestant.command]}
            for contestant in run.contestants
        ],
        "ratios": rows(ratios(run.samples), "peer"),
        "figures": rows(figures(run.samples), "contestant"),
        "samples": [without_start(sample) for sample in run.samples],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def read(path: Path) -> Run:
    """Read a run that `write` wrote."""
    stored = json.loads(path.read_text())
    contestants = [
        Contestant(**{name: tuple(v) if isinstance(v, list) else v for name, v in each.items()})
        for each in stored["contestants"]
    ]
    samples = [Sample(**sample) for sample in stored["samples"]]
    return Run(stored["machine"], stored["options"], contestants, samples)


def rows(spreads: Mapping[Key, Spread], third: str) -> list[dict[str, Any]]:
    """Return medians as a list of objects."""
    return [
        {"workload": workload, "metric": metric, third: name, **asdict(spread)}
        for (workload, metric, name), spread in spreads.items()
    ]


def without_start(sample: Sample) -> dict[str, Any]:
    """Return a sample as an object; `server.started` stands once for all, in `server_started`."""
    document = asdict(sample)
    document["log"].pop("started", None)
    return document
