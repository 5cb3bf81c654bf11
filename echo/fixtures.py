"""The pytest plugin: the fixtures `echo_server` and `echo_server_factory`.

pytest imports this at the start of every test run of an environment in which the package is
installed: nothing else is imported until a fixture is used.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.limits import Limits
    from echo.testing import Faults, RunningServer


class ServerFactory(Protocol):
    """Starts an echo server on a free port; it is stopped at the end of the test."""

    def __call__(
        self,
        *,
        faults: Faults | None = None,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
        log_payload: bool = False,
    ) -> RunningServer:
        """Start one."""


@pytest.fixture
def echo_server_factory() -> Iterator[ServerFactory]:
    """Start echo servers: `echo_server_factory(faults=Faults(delay=0.1))`.

    Each has `host`, `port`, `address`, `sessions`, `received_bytes`, `events`, `log`, and
    `faults`, which may be set while it runs.
    """
    from echo.testing import Faults, running_server

    with ExitStack() as stack:

        def start(*, faults: Faults | None = None, **options: Any) -> RunningServer:
            server = running_server(faults=faults or Faults(), **options)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def echo_server(echo_server_factory: ServerFactory) -> RunningServer:
    """Run an echo server on a free port of 127.0.0.1 until the end of the test."""
    return echo_server_factory()
