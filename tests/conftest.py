"""Fixtures: every server and daemon that a test gets is held against all promises at its end."""

# ruff: noqa: E402 - what is to be rewritten must not be imported before that has been said

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

# So that what they find is shown, not only that they have found it.
pytest.register_assert_rewrite("tests.process", "tests.vocabulary")

from echo.server import EchoHandler
from echo.testing import RunningServer, running_server
from tests import vocabulary
from tests.authority import Authority
from tests.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Serve = Callable[..., AbstractContextManager[RunningServer]]

hypothesis.settings.register_profile(
    "echo", deadline=None, print_blob=True, max_examples=int(os.environ.get("EXAMPLES", "30"))
)
hypothesis.settings.load_profile("echo")


# What depends on the Python: sockets, threads, signals, TLS, memory, the compiled loop, the library
# that users import, and that each command runs. All else is tested with one Python.
EACH_PYTHON = (
    "echo/",
    "tests/client/",
    "tests/faults/test_accept.py",
    "tests/faults/test_memory.py",
    "tests/faults/test_stop.py",
    "tests/faults/test_threads.py",
    "tests/server/",
    "tests/test_commands.py",
    "tests/test_stdlog.py",
    "tests/testing/",
)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that one Python does for all."""
    for item in items:
        if not item.path.relative_to(config.rootpath).as_posix().startswith(EACH_PYTHON):
            item.add_marker("once")


# A shell starts what it puts in the background with Ctrl-C ignored, and every child inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """Take back what a start of the daemon in the tests' own process has set, as it stays set."""
    interval = sys.getswitchinterval()
    linux = hasattr(os, "sched_setscheduler")
    processors, policy = (os.sched_getaffinity(0), os.sched_getscheduler(0)) if linux else ((), 0)
    yield
    sys.setswitchinterval(interval)
    if linux:
        os.sched_setaffinity(0, processors)
        os.sched_setscheduler(0, policy, os.sched_param(0))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority of this test's own."""
    return Authority(tmp_path / "tls")


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


HANDLERS: dict[str, type[EchoHandler]] = {"python": EchoHandler}
with suppress(ImportError):  # no compiler was there when this was installed
    from echo.server.compiled import CompiledHandler

    HANDLERS["compiled"] = CompiledHandler


def handler_of(loop: str) -> type[EchoHandler]:
    """Return the handler with the loop in Python, or the compiled one, or skip the test."""
    if loop not in HANDLERS:
        pytest.skip("the compiled loop isn't there: it needs a C compiler at the installation")
    return HANDLERS[loop]


@pytest.fixture(params=["python", "compiled"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Return `running_server` with each of the two loops."""
    return partial(running_server, handler=handler_of(request.param))


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """Run a server in this process, and check its events at the end."""
    with running_server() as running:
        yield running
    check_events(running)


def check_events(running: RunningServer) -> None:
    """Hold a stopped server's events against the vocabulary."""
    vocabulary.check(running.events)
