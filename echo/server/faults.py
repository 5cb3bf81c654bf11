"""A server that misbehaves on request: what a client has to be able to handle."""

from __future__ import annotations

import math
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from echo.events import Reason
from echo.limits import LONGEST
from echo.server.handler import EchoHandler
from echo.server.server import EchoServer
from echo.server.session import SessionEnd
from echo.units import parse_size, parse_time

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

# A throttled session sends this many times a second.
THROTTLE_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a server is to do wrong; without any, it is an echo server like every other.

    Offsets and counts are bytes of one session's echo. A value that makes no sense raises
    `ValueError`. Whatever the faults, the server's limits hold, and it stops in time.

    >>> Faults(delay=0.1, fragment=True).active()
    {'delay': 0.1, 'fragment': True}
    """

    delay: float = 0.0
    """Seconds before each piece of the echo."""

    jitter: float = 0.0
    """At most this many seconds more, each time another number of them."""

    throttle: int = 0
    """Bytes per second that a session gets back at the most; 0 is as fast as it can."""

    fragment: bool = False
    """Send one byte at a time."""

    corrupt: int | None = None
    """Offset of a byte that comes back with all its bits turned over."""

    close_after: int | None = None
    """Bytes that come back before the end of the stream, though more was sent."""

    reset_after: int | None = None
    """Bytes that come back before the connection is reset."""

    stall: bool = False
    """Accept, and never read nor answer."""

    refuse: bool = False
    """Refuse connections; sessions that are open go on."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        for name, value in self.active().items():
            most = LONGEST if name in ("delay", "jitter") else 2**62
            if not 0 <= value <= most:  # in these words NaN fails, too
                raise ValueError(f"{name} must be from 0 to {most}, not {value}")

    def active(self) -> dict[str, Any]:
        """Return the faults that are on, by name."""
        values = {field: getattr(self, field.name) for field in fields(self)}
        return {field.name: value for field, value in values.items() if value != field.default}


def parse_faults(words: Iterable[str]) -> Faults:
    """Read faults as a command line has them; `ValueError` says what is wrong with them.

    >>> parse_faults(["delay=100ms", "reset-after=64k", "fragment"]).active()
    {'delay': 0.1, 'fragment': True, 'reset_after': 65536}
    """
    known = {field.name.replace("_", "-"): field for field in fields(Faults)}
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        field = known.get(name.replace("_", "-"))
        if field is None:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
        if bool(equals) == isinstance(field.default, bool):
            raise ValueError(f"{name} takes {'no' if equals else 'a'} value")
        values[field.name] = _value(name, text, field.default) if equals else True
    return Faults(**values)


def _value(name: str, text: str, default: object) -> float:
    try:
        return parse_time(text) if isinstance(default, float) else parse_size(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


class FaultyHandler(EchoHandler):
    """Echoes one client's bytes with the faults that its server has at that moment."""

    server: FaultyServer

    def receive(self) -> memoryview:
        """Wait for the peer's next bytes, unless a fault comes before them."""
        self._stall()
        self._end_early()
        return super().receive()

    def send_back(self, chunk: ReadableBuffer) -> None:
        """Send it back late, slowly, in pieces, changed, or not at all."""
        faults, chunk = self.server.faults, memoryview(chunk)
        self._pause(faults, faults.delay + random.uniform(0, faults.jitter))
        while chunk:
            self._stall()
            self._end_early()
            faults = self.server.faults
            piece = chunk[: self._step(faults)]
            super().send_back(self._corrupted(piece, faults))
            chunk = chunk[len(piece) :]
            if faults.throttle:
                self._pause(faults, len(piece) / faults.throttle)
        self._end_early()

    def _step(self, faults: Faults) -> int:
        """Return how much to send at once: never past an offset at which a fault strikes."""
        sent = self.session.sent_bytes
        steps = [self.server.limits.buffer_size]
        steps += [at - sent for at in (faults.close_after, faults.reset_after) if at is not None]
        if faults.throttle:
            steps.append(max(1, faults.throttle // THROTTLE_STEPS))
        if faults.fragment:
            steps.append(1)
        return min(steps)

    def _corrupted(self, piece: memoryview, faults: Faults) -> memoryview:
        if faults.corrupt is None:
            return piece
        wrong = faults.corrupt - self.session.sent_bytes
        if not 0 <= wrong < len(piece):
            return piece
        copy = bytearray(piece)
        copy[wrong] ^= 0xFF
        return memoryview(copy)

    def _stall(self) -> None:
        """Do nothing, as long as the limits allow, until the fault is off or it's time to stop."""
        while not self.server.draining:
            faults = self.server.faults
            if not faults.stall:
                return
            if not self._wait(faults, self.idle_timeout):
                raise SessionEnd(Reason.IDLE_TIMEOUT)

    def _pause(self, faults: Faults, seconds: float) -> None:
        """Let time pass, unless the faults are changed or it's time to stop."""
        if seconds > 0:
            self._wait(faults, seconds)

    def _wait(self, faults: Faults, seconds: float) -> bool:
        """Wait until the server's faults are others, or it drains; return False if neither came."""
        left = self.ends_at - time.monotonic()
        woken = self.server.wait_for_change(faults, min(seconds, left))
        if not woken and left <= seconds:
            raise SessionEnd(Reason.SESSION_TIMEOUT)
        return woken

    def _end_early(self) -> None:
        faults = self.server.faults
        sent = self.session.sent_bytes
        if faults.reset_after is not None and sent >= faults.reset_after:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise SessionEnd(Reason.RESET)
        if faults.close_after is not None and sent >= faults.close_after:
            raise SessionEnd(Reason.BYTE_LIMIT)


class FaultyServer(EchoServer):
    """An echo server whose `faults` may be changed while it runs.

    Sessions that are open see a change at once, also in the middle of a stall or a delay.
    """

    def __init__(
        self,
        server_address: tuple[str, int],
        handler: type[socketserver.BaseRequestHandler] = FaultyHandler,
        *,
        faults: Faults | None = None,
        **options: Any,
    ) -> None:
        self._faults = faults or Faults()
        self._changed = threading.Condition()
        super().__init__(server_address, handler, **options)

    @property
    def faults(self) -> Faults:
        """What it does wrong now."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        old = self._faults
        if old.refuse and not faults.refuse:
            self.socket.listen(self.request_queue_size)
        with self._changed:
            self._faults = faults
            self._changed.notify_all()
        if faults.refuse and not old.refuse:
            self._stop_listening()

    def wait_for_change(self, faults: Faults, seconds: float) -> bool:
        """Wait until the faults are no longer `faults`, or it drains; return False if neither."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._faults is not faults or self.draining,
                None if seconds == math.inf else seconds,
            )

    def start_draining(self, grace: float | None = None) -> None:
        """Stop accepting, and wake the sessions that wait because of a fault, too."""
        super().start_draining(grace)
        with self._changed:
            self._changed.notify_all()

    def _stop_listening(self) -> None:
        """Stop listening, which gives the port's connections back as refused."""
        self.socket.shutdown(socket.SHUT_RD)

    def server_bind(self) -> None:
        """Bind by number: a port that the system picked is lost when listening stops."""
        super().server_bind()
        if self._ready is not None:  # it has its number already
            return
        self.socket.close()
        self.socket = socket.socket(self.address_family, self.socket_type)
        super().server_bind()

    def server_activate(self) -> None:
        """Listen, unless connections are to be refused from the beginning."""
        super().server_activate()
        if self.faults.refuse:
            self._stop_listening()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; while connections are refused, accepting fails, and that is no failure."""
        faults = self.faults
        try:
            return super().get_request()
        except OSError as error:
            if self.faults is faults and not faults.refuse:  # nor has it refused meanwhile
                raise
            self._pause()
            raise BlockingIOError from error
