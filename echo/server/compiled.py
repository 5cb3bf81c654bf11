"""The handler with the compiled loop: the same bounds, counts and ends, without the GIL.

Every processor works for the one daemon then. It is there where a C compiler was when this was
installed; `EchoHandler` does the same everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echo.events import Reason
from echo.server import compiled_loop
from echo.server.handler import EchoHandler
from echo.server.session import SessionEnd

if TYPE_CHECKING:
    from echo.server.server import EchoServer

REASONS = {
    compiled_loop.DRAINED: Reason.DRAINED,
    compiled_loop.BYTE_LIMIT: Reason.BYTE_LIMIT,
    compiled_loop.IDLE_TIMEOUT: Reason.IDLE_TIMEOUT,
    compiled_loop.SESSION_TIMEOUT: Reason.SESSION_TIMEOUT,
    compiled_loop.WRITE_TIMEOUT: Reason.WRITE_TIMEOUT,
}


class CompiledHandler(EchoHandler):
    """`EchoHandler` with its loop in C; while payload is logged, the loop in Python takes over."""

    loop = "compiled"

    @classmethod
    def loop_settings(cls, server: EchoServer) -> compiled_loop.Settings:
        """Return what the compiled loop has to know of the server."""
        limits, pin = server.limits, server.pin
        return compiled_loop.Settings(
            server.wakeup.fileno(),
            server.flags,
            limits.buffer_size,
            limits.idle_timeout or math.inf,
            limits.write_timeout,
            limits.max_bytes,
            pin.pinned,
            pin.allowed,
        )

    def setup(self) -> None:
        """Prepare the compiled loop, which counts for the session from now on."""
        self.session.counts = self.compiled_loop = compiled_loop.CompiledLoop(
            self.request.fileno(), self.ends_at, self.server.loop_settings
        )

    def handle(self) -> None:
        """Run the compiled loop; show each read that it leaves to Python."""
        while (end := self.compiled_loop.run()) == compiled_loop.SHOW:
            if not hasattr(self, "buffer"):
                super().setup()
            if not (chunk := self.receive()):
                return
            self.send_back(chunk)
        self.session.peer_ended = end == compiled_loop.END_OF_STREAM
        if end != compiled_loop.END_OF_STREAM:
            raise SessionEnd(REASONS[end])
