"""Fuzzes one target with atheris, which sees the branches that an input takes.

`python -m tests.faults.fuzz_by_coverage TARGET -runs=1000000` takes libFuzzer's options.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["echo", "proxyprotocol", "tomllib"]):
    from tests.faults.fuzz import SEEDS, TARGETS


def main() -> None:
    """Begin with the target's seeds, and end where one fails or the options say so."""
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
