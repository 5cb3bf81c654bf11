"""An installation without the compiled loop: it serves, and a person at a terminal is told."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.process import ROOT
from tests.waiting import seconds

if TYPE_CHECKING:
    from pathlib import Path

# The command line, where the module of the compiled loop can't be imported.
WITHOUT = """
import sys
sys.modules["echo.server.compiled"] = None
from echo.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(("loop", "lines"), [("auto", 1), ("python", 0)])
def test_a_terminal_says_that_the_slower_loop_runs(loop: str, lines: int, tmp_path: Path) -> None:
    """Once at the start, with what mends it; not where the user chose Python's loop."""
    terminal, other_end = pty.openpty()
    flags = ("serve", "--port", "0", "--log-file", "-", "--loop", loop)
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT, *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=other_end,
    ) as process:
        os.close(other_end)
        assert process.stdout
        started = process.stdout.readline()
        process.terminate()
        process.communicate(timeout=seconds(60))
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # the terminal's other end is closed
        os.close(terminal)

    assert b'"loop":"python"' in started
    assert shown.count(b"install a C compiler") == shown.count(b"\n") == lines
