"""A threaded TCP echo server that people leave running, with a client and tools.

- `EchoServer`: one listening socket, and one more for each client
- `EchoHandler`: the bounded echo loop of one session
- `EchoClient`: sends, verifies what comes back, reads while it writes
- `Limits`: every bound of the server, with its default
"""

from echo.client import EchoClient
from echo.limits import Limits
from echo.server import EchoHandler, EchoServer
from echo.version import VERSION

__all__ = ["EchoClient", "EchoHandler", "EchoServer", "Limits"]
__version__ = VERSION
