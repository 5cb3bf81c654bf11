"""A threaded TCP echo server that people leave running, with a client and tools.

- `EchoServer`: one listening socket, and one more socket for each client
- `EchoHandler`: the echo loop of one session, with a limit on everything
- `EchoClient`: sends, verifies what comes back, reads while it writes
- `EchoError`: an echo did not come back as it should; its kinds are `EchoMismatch`,
  `EchoEnded` and `EchoTimeout`
- `Limits`: the server's limits, with their defaults
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from echo import version as _version

if TYPE_CHECKING:
    from echo.client import EchoClient, EchoEnded, EchoError, EchoMismatch, EchoTimeout
    from echo.limits import Limits
    from echo.server import EchoHandler, EchoServer

__all__ = [
    "EchoClient",
    "EchoEnded",
    "EchoError",
    "EchoHandler",
    "EchoMismatch",
    "EchoServer",
    "EchoTimeout",
    "Limits",
]

__version__ = _version.VERSION

# Imported at their first use: the command line has to handle signals before it has imported
# everything, and a client needs nothing of the server.
_MODULES = {"EchoHandler": "echo.server", "EchoServer": "echo.server", "Limits": "echo.limits"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'echo' has no attribute {name!r}")
    module = import_module(_MODULES.get(name, "echo.client"))
    return getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
