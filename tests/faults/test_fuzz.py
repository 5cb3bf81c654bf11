"""Whatever bytes come in, by chance and by coverage: no exception escapes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.faults.fuzz import SEEDS, TARGETS
from tests.process import ROOT
from tests.waiting import seconds

if TYPE_CHECKING:
    from pathlib import Path

# Of what the inputs are made, so that chance gets beyond their first byte.
PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"=", b"#", b"'''", b"\n", b"\\", b"\\u"),
        *(b"event", b"level", b"exc_info", b"timestamp", b"stack", b"exception", b"logger"),
        *(b"serve", b"port", b"limits", b"log-file", b"true", b"null", b"1e999", b"-1", b"NaN"),
        *(b"\x1b[", b"\xff", b"\xed\xa0\x80", b"\0", b"\xe2\x80\xa8"),
    ]
)
ANY = st.one_of(st.binary(max_size=500), st.lists(PIECES, max_size=40).map(b"".join))


@pytest.mark.parametrize("name", TARGETS)
@given(data=ANY)
@example(data=b"[" * 5000)
@example(data=b'{"event":' * 3000)
@example(data=b"\n" * 70_000)
@example(data=b"x" * 200_000 + b"\ny")
def test_any_bytes(name: str, data: bytes) -> None:
    """Each target holds for what hypothesis thinks of."""
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds(name: str) -> None:
    """Each target holds for what its inputs look like."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed (the extra of that name)",
)
@pytest.mark.timeout(seconds(300))  # seven interpreters at once, which a busy machine starts slowly
@pytest.mark.long
def test_by_coverage(tmp_path: Path) -> None:
    """Each target holds for what atheris finds, which sees which branches an input takes."""
    fuzzers = {
        name: subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.fuzz_by_coverage", name),
                *("-runs=1000", "-max_total_time=10", "-max_len=400", "-seed=1", "-verbosity=0"),
            ],
            cwd=tmp_path,  # where it leaves the input that failed
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in TARGETS
    }
    said = {name: fuzzer.communicate(timeout=seconds(280))[0] for name, fuzzer in fuzzers.items()}
    failed = {name: said[name] for name, fuzzer in fuzzers.items() if fuzzer.returncode}

    assert failed == {}
