"""The client package: talking to any echo server."""

from echo.client.client import EchoClient
from echo.client.errors import EchoEnded, EchoError, EchoMismatch, EchoTimeout

__all__ = ["EchoClient", "EchoEnded", "EchoError", "EchoMismatch", "EchoTimeout"]
