"""Fixtures: every server and daemon that a test gets is held against all promises at its end."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from echo.testing import RunningServer, running_server
from tests import vocabulary
from tests.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

hypothesis.settings.register_profile(
    "echo", deadline=None, print_blob=True, max_examples=int(os.environ.get("EXAMPLES", "30"))
)
hypothesis.settings.load_profile("echo")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Start daemons: `daemon("--max-bytes", "10")`; each is checked and stopped at the end."""
    with ExitStack() as checks:  # of which each is made, whichever of them fails

        def start(*flags: str, **options: Any) -> DaemonProcess:
            folder = Path(tempfile.mkdtemp(prefix="daemon-", dir=tmp_path))
            process = DaemonProcess(folder, *flags, **options)
            checks.callback(process.check_and_stop)
            return process

        yield start


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """Run a server in this process, and check its events at the end."""
    with running_server() as running:
        yield running
    check_events(running)


def check_events(running: RunningServer) -> None:
    """Hold a stopped server's events against the vocabulary."""
    vocabulary.check(running.events)
