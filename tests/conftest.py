"""Fixtures: every server and daemon that a test gets is held against all promises at its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from echo.testing import RunningServer, running_server
from tests import vocabulary
from tests.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

hypothesis.settings.register_profile(
    "echo", deadline=None, print_blob=True, max_examples=int(os.environ.get("EXAMPLES", "30"))
)
hypothesis.settings.load_profile("echo")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Start daemons: `daemon("--max-bytes", "10")`; each is checked and stopped at the end."""
    started: list[DaemonProcess] = []

    def start(*flags: str, **options: Any) -> DaemonProcess:
        folder = tmp_path / f"daemon-{len(started)}"
        folder.mkdir()
        process = DaemonProcess(folder, *flags, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.check_and_stop()


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """Run a server in this process, and check its events at the end."""
    with running_server() as running:
        yield running
    check_events(running)


def check_events(running: RunningServer) -> None:
    """Hold a stopped server's events against the vocabulary."""
    vocabulary.check(running.events)
