"""A threaded TCP echo server that people leave running, with a client and tools.

- `EchoServer`: one listening socket, and one more for each client
- `EchoHandler`: the bounded echo loop of one session
- `EchoClient`: sends, verifies what comes back, reads while it writes
- `Limits`: every bound of the server, with its default
"""

from typing import TYPE_CHECKING, Any

from echo.version import VERSION

if TYPE_CHECKING:
    from echo.client import EchoClient
    from echo.limits import Limits
    from echo.server import EchoHandler, EchoServer

__all__ = ["EchoClient", "EchoHandler", "EchoServer", "Limits"]
__version__ = VERSION

# Imported when asked for: a client needs no server, and the pytest plugin neither.
_PLACES = {
    "EchoClient": "echo.client",
    "EchoHandler": "echo.server",
    "EchoServer": "echo.server",
    "Limits": "echo.limits",
}


def __getattr__(name: str) -> Any:
    """Import what the contents page names."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
