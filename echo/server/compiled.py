"""The handler's compiled twin: the same loop, run without the interpreter's lock.

Without that lock every processor works for the one daemon. It is there where a compiler was
when this was installed; `EchoHandler` does the same everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from echo.events import Reason
from echo.server import relay
from echo.server.handler import EchoHandler
from echo.server.session import SessionEnd

if TYPE_CHECKING:
    from echo.server.tuning import Pin

REASONS = {
    relay.DRAIN: Reason.DRAINED,
    relay.BYTE_LIMIT: Reason.BYTE_LIMIT,
    relay.IDLE_TIMEOUT: Reason.IDLE_TIMEOUT,
    relay.SESSION_TIMEOUT: Reason.SESSION_TIMEOUT,
    relay.WRITE_TIMEOUT: Reason.WRITE_TIMEOUT,
}


@cache
def _processors(pin: Pin) -> relay.Processors:
    return relay.Processors(pin.narrow, pin.wide)


class CompiledHandler(EchoHandler):
    """`EchoHandler` with its loop in C; while payload is logged, the loop in Python takes over."""

    loop = "compiled"
    blocking = True  # the loop in C asks for what it wants with each call

    def setup(self) -> None:
        """Prepare the compiled loop, which counts for the session from now on."""
        super().setup()
        limits = self.server.limits
        self.session.counts = self.relay = relay.Relay(
            self.request.fileno(),
            self.server.wakeup.fileno(),
            self.buffer,
            limits.buffer_size,
            self.server.flags,
            self.idle_timeout,
            limits.write_timeout,
            self.ends_at,
            limits.max_bytes,
            _processors(self.server.pin),
        )

    def handle(self) -> None:
        """Run the echo loop."""
        while (end := self.relay.run()) in (relay.SHOW, relay.FULL):
            if end == relay.FULL:
                self.enlarge()
                continue
            self.request.setblocking(False)
            if chunk := self.buffer[: self.relay.unseen]:
                self.show(chunk)
            elif not (chunk := self.receive()):
                return
            self.send_back(chunk)
        if end != relay.EOF:
            raise SessionEnd(REASONS[end])

    def enlarge(self) -> None:
        """Read on with the whole of `buffer_size`, in either loop."""
        super().enlarge()
        self.relay.buffer = self.buffer
