"""A threaded TCP echo server that people leave running, with a client and tools.

- `EchoServer`: one listening socket, and one more for each client
- `EchoHandler`: the bounded echo loop of one session
- `EchoClient`: sends, verifies what comes back, reads while it writes
- `Limits`: every bound of the server, with its default
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from echo.version import VERSION

if TYPE_CHECKING:
    from echo.client import EchoClient
    from echo.limits import Limits
    from echo.server import EchoHandler, EchoServer

__all__ = ["EchoClient", "EchoHandler", "EchoServer", "Limits"]
__version__ = VERSION

# Imported when they are asked for: the command line gets to answer signals before it has
# loaded all of the house.
_PLACES = {
    "EchoClient": "echo.client",
    "EchoHandler": "echo.server",
    "EchoServer": "echo.server",
    "Limits": "echo.limits",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'echo' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
