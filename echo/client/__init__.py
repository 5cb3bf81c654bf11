"""The client's wing: talking to an echo server, whoever wrote it."""

from echo.client.client import EchoClient
from echo.client.errors import EchoEnded, EchoError, EchoMismatch, EchoTimeout

__all__ = ["EchoClient", "EchoEnded", "EchoError", "EchoMismatch", "EchoTimeout"]
