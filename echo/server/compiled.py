"""The handler with the compiled loop: the same bounds, counts and ends, without the GIL.

Every processor works for the one daemon then. It is there where a C compiler was when this was
installed; `EchoHandler` does the same everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from echo.events import Reason
from echo.server import compiled_loop
from echo.server.handler import EchoHandler
from echo.server.session import SessionEnd

if TYPE_CHECKING:
    from echo.server.tuning import Pin

REASONS = {
    compiled_loop.DRAINED: Reason.DRAINED,
    compiled_loop.BYTE_LIMIT: Reason.BYTE_LIMIT,
    compiled_loop.IDLE_TIMEOUT: Reason.IDLE_TIMEOUT,
    compiled_loop.SESSION_TIMEOUT: Reason.SESSION_TIMEOUT,
    compiled_loop.WRITE_TIMEOUT: Reason.WRITE_TIMEOUT,
}


@cache
def _processors(pin: Pin) -> compiled_loop.Processors:
    return compiled_loop.Processors(pin.pinned, pin.allowed)


class CompiledHandler(EchoHandler):
    """`EchoHandler` with its loop in C; while payload is logged, the loop in Python takes over."""

    loop = "compiled"
    blocking = True  # the loop in C asks for what it wants with each call

    def setup(self) -> None:
        """Prepare the compiled loop, which counts for the session from now on."""
        super().setup()
        limits = self.server.limits
        self.session.counts = self.compiled_loop = compiled_loop.CompiledLoop(
            self.request.fileno(),
            self.server.wakeup.fileno(),
            self.server.flags,
            limits.buffer_size,
            self.idle_timeout,
            limits.write_timeout,
            self.ends_at,
            limits.max_bytes,
            _processors(self.server.pin),
        )

    def handle(self) -> None:
        """Run the compiled loop; show each read that it leaves to Python."""
        while (end := self.compiled_loop.run()) == compiled_loop.SHOW:
            self.request.setblocking(False)
            if not (chunk := self.receive()):
                return
            self.send_back(chunk)
        self.session.peer_ended = end == compiled_loop.END_OF_STREAM
        if end != compiled_loop.END_OF_STREAM:
            raise SessionEnd(REASONS[end])
