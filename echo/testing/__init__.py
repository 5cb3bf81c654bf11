"""For tests of clients: a server in this process, with its events at hand, and with faults.

- `running_server`: a server on a free port until the end of a `with` block
- `RunningServer`, `EventList`: what it gives, and what it has logged
- `Faults`: what a server is to do wrong
- `payloads`, `splits`: hypothesis strategies, which need the extra `fuzz`

The fixtures `echo_server` and `echo_server_factory` are in `pytest_echo_daemon`, which pytest
finds by itself.
"""

from typing import TYPE_CHECKING, Any

from echo.server.faults import Faults
from echo.testing.running import EventList, RunningServer, running_server

if TYPE_CHECKING:
    from echo.client.strategies import payloads, splits

__all__ = ["EventList", "Faults", "RunningServer", "payloads", "running_server", "splits"]


def __getattr__(name: str) -> Any:
    """Import what needs hypothesis when it is asked for."""
    if name not in ("payloads", "splits"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from echo.client import strategies

    return getattr(strategies, name)
