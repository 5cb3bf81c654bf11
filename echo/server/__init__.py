"""The daemon: one listening socket, and one more for each client."""

from echo.server import preload as preload
from echo.server.handler import EchoHandler
from echo.server.server import EchoServer

__all__ = ["EchoHandler", "EchoServer"]
