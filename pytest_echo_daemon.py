"""The pytest plugin of echo-daemon: the fixtures `echo_server` and `echo_server_factory`.

pytest imports this at the start of every test run of an environment in which echo-daemon is
installed. It is outside of the package, since a project may have an `echo` of its own, and
imports nothing of it until a fixture is used.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Generator, Iterator

    from echo.limits import Limits
    from echo.testing import Faults, RunningServer

# Events that a failing test's report shows of each server, the last ones.
REPORTED_EVENTS = 50

_SERVERS = pytest.StashKey[list["RunningServer"]]()


class ServerFactory(Protocol):
    """Starts an echo server on a free port; it is stopped at the end of the test."""

    def __call__(
        self,
        *,
        faults: Faults | None = None,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
        log_payload: bool = False,
        handler: type[socketserver.BaseRequestHandler] = ...,
    ) -> RunningServer:
        """Start one."""


@pytest.fixture
def echo_server_factory(request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Start echo servers: `echo_server_factory(faults=Faults(delay=0.1))`.

    Each has `host`, `port`, `address`, `sessions`, `received_bytes`, `events`, `log`, and
    `faults`, which may be set while it runs. A server with a `handler` of your own has no faults.
    """
    try:
        from echo.testing import Faults, running_server
    except ImportError as error:
        pytest.fail(_obstacle(error), pytrace=False)
    servers: list[RunningServer] = request.node.stash.setdefault(_SERVERS, [])
    with ExitStack() as stack:

        def start(*, faults: Faults | None = None, **options: Any) -> RunningServer:
            if faults is None and not {"handler", "server_class"} & options.keys():
                faults = Faults()  # none yet; the test may set some
            server = running_server(faults=faults, **options)
            servers.append(stack.enter_context(server))
            return servers[-1]

        yield start


@pytest.fixture
def echo_server(echo_server_factory: ServerFactory) -> RunningServer:
    """Run an echo server on a free port of 127.0.0.1 until the end of the test."""
    return echo_server_factory()


def _obstacle(error: ImportError) -> str:
    """Return why the package can't be imported, in one line."""
    package = sys.modules.get("echo")
    path = getattr(package, "__file__", None)
    if package is not None and not hasattr(package, "__path__"):
        return f"echo_server needs the package echo of echo-daemon, and {path} hides it: rename it"
    return f"echo_server can't import the package echo of echo-daemon: {error}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show in the report of a failing test what its echo servers have seen."""
    report: pytest.TestReport = yield
    if report.failed:
        for server in item.stash.get(_SERVERS, []):
            lines = [_shown(event) for event in server.events[-REPORTED_EVENTS:]] or ["no events"]
            report.sections.append((f"echo_server {server.host}:{server.port}", "\n".join(lines)))
    return report


def _shown(event: dict[str, Any]) -> str:
    """Return an event as text; the traceback of a `server.error` is on lines of its own."""
    fields = {name: value for name, value in event.items() if name != "exception"}
    return f"{fields}\n{event['exception']}" if "exception" in event else str(fields)
