"""The listening socket and its accept loop, which outlives whatever a connection brings."""

from __future__ import annotations

import os
import socket
import socketserver
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from echo import events
from echo.limits import BACKLOG, EXHAUSTED_PAUSE
from echo.server.sockets import (
    GONE_BEFORE_ACCEPT,
    OUT_OF_CAPACITY,
    resolve,
    set_session_options,
)
from echo.server.waiting import Bell, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.events import Event

# Lets other threads have the processor, where the system can be asked to.
give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
# Seconds that `shutdown` gives the accept loop to see that it is to stop.
SHUTDOWN_GRACE = 1.0


class ListeningServer(socketserver.ThreadingTCPServer):
    """A `ThreadingTCPServer` whose accept loop goes on until it is told to stop.

    In the framework's own loop an exception in `verify_request` ends the server, and an error
    of accept is swallowed, whether it is this connection's (go on), the system's (wait: else
    the loop spins at a full core) or the listening socket's (end: else the server is deaf).
    Here each has its own answer, and an event.

    `server_address` is where to listen, or a socket that listens already and is the server's
    from then on. Raises `OSError` when the address can't be resolved or bound.
    """

    # On Windows this option lets others take the port over.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    # Connections taken off the backlog before the accept loop looks at anything else.
    accept_batch = 64
    # ... and before it lets their sessions run: it would begin hundreds before one is served.
    accept_run = 16

    def __init__(
        self,
        server_address: tuple[str, int] | socket.socket,
        handler: type[socketserver.BaseRequestHandler],
        *,
        log: Any = None,
        reuse_port: bool = False,
    ) -> None:
        self.log = structlog.get_logger("echo") if log is None else log
        self.log_failures = 0
        self.turns = 0  # of the accept loop: by them a watchdog sees that it lives
        self.allow_reuse_port = reuse_port
        if isinstance(server_address, socket.socket):
            self._ready: socket.socket | None = server_address
            self.address_family, address = server_address.family, server_address.getsockname()
        else:
            self._ready = None
            self.address_family, address = resolve(*server_address)
        self._exhausted_since: float | None = None
        self._broken_in_a_row = 0
        self._stopping = False
        self._stop_bell = Bell()
        self._loop_over = threading.Event()
        self._loop_over.set()
        try:
            super().__init__(address, handler)
        except BaseException:
            self._stop_bell.close()
            raise

    def emit(self, event: Event, **fields: Any) -> None:
        """Write one event. Whatever is wrong with the log is no session's concern."""
        try:
            getattr(self.log, event.level)(event.name, **fields)
        except Exception:  # noqa: BLE001 - the logger is the caller's and may raise anything
            self.log_failures += 1

    # -- listening ----------------------------------------------------------------------

    def server_bind(self) -> None:
        """Bind; `"::"` takes IPv4 connections too, whatever the system's default is."""
        if self._ready is not None:
            self.socket.close()
            self.socket = self._ready
            return
        if self.address_family == socket.AF_INET6 and socket.has_dualstack_ipv6():
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def server_activate(self) -> None:
        """Listen, with the options that each session's socket is to have."""
        set_session_options(self.socket)
        self.socket.setblocking(False)
        super().server_activate()

    # -- the accept thread --------------------------------------------------------------

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept until `shutdown`; raise `OSError` for what is wrong with the listening socket.

        Looks up every `poll_interval` seconds at the latest, for `service_actions`. After a
        `shutdown` nothing listens any more, while sessions go on: who comes then is refused at
        once, and may ask another daemon, instead of waiting for a reset.
        """
        self._loop_over.clear()
        waiter = Waiter(self.socket, self._stop_bell)
        try:
            while not self._stopping:
                if waiter.readable(poll_interval):
                    self._accept_some()
                self._look_after()
                self.turns += 1
        finally:
            if self._stopping:
                self.socket.close()
            self._loop_over.set()

    def shutdown(self) -> None:
        """Stop accepting, for good, and wait up to 1 s for the loop to end; sessions go on.

        Only the first call waits: a loop that hangs costs a stop its second once.
        """
        first, self._stopping = not self._stopping, True
        self._stop_bell.ring()
        self._loop_over.wait(SHUTDOWN_GRACE if first else 0)

    def _accept_some(self) -> None:
        for taken in range(1, self.accept_batch + 1):
            if self._stopping or not self._accept_one():
                return
            if taken % self.accept_run == 0:
                give_way()
        self._resumed()

    def _accept_one(self) -> bool:
        """Take one connection as far as its own thread; False when it's time to wait again."""
        try:
            request, address = self.get_request()
        except OSError as error:
            return self._accept_failed(error)
        except Exception as error:  # noqa: BLE001 - an overridden hook may raise anything
            self._report(error, "get_request")
            self._pause()
            return False
        self.turns += 1
        self._broken_in_a_row = 0
        self._admit(request, address)
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, and see to it that the new socket has the session's options."""
        request, address = self.socket.accept()
        if sys.platform != "linux":  # pragma: no cover - there it inherits them
            set_session_options(request)
        return request, address

    def _accept_failed(self, error: OSError) -> bool:
        if isinstance(error, BlockingIOError):
            self._resumed()
            return False
        if error.errno in GONE_BEFORE_ACCEPT:
            self._broken_in_a_row += 1
            if self._broken_in_a_row % self.accept_batch == 0:  # or the loop would spin
                self._pause()
            return True
        if error.errno not in OUT_OF_CAPACITY:
            raise error
        if self._exhausted_since is None:
            self._exhausted_since = time.monotonic()
            self.emit(events.ACCEPT_EXHAUSTED, error=describe(error))
        self._pause()
        return False

    def _resumed(self) -> None:
        """Call an exhaustion over: nobody waits any more, or a whole batch got in.

        One connection that got in is no end of it: at the limit each session that closes lets
        one in, and each would be a pair of lines.
        """
        if self._exhausted_since is not None:
            lasted = round(time.monotonic() - self._exhausted_since, 6)
            self._exhausted_since = None
            self.emit(events.ACCEPT_RESUMED, duration_s=lasted)

    def _pause(self) -> None:
        """Let the cause of a failure pass, unless it is time to stop."""
        Waiter(self._stop_bell).readable(EXHAUSTED_PAUSE)

    def _look_after(self) -> None:
        try:
            self.service_actions()
        except Exception as error:  # noqa: BLE001 - an overridden hook may raise anything
            self._report(error, "service_actions")
            self._pause()

    def _admit(self, request: socket.socket, address: Any) -> None:
        try:
            if self.verify_request(request, address):
                self.process_request(request, address)
            else:
                self.close_request(request)
        except Exception:  # noqa: BLE001 - as above: this connection ends, the next is served
            self._contain(request, address)
            self._discard(request)

    # -- what goes wrong ----------------------------------------------------------------

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception that is being handled: it ended this connection, nothing else."""
        del request, client_address
        error = sys.exception()
        if error is not None:
            self._report(error, traceback.extract_tb(error.__traceback__)[-1].name)

    def _contain(self, request: Any, client_address: Any) -> None:
        try:
            self.handle_error(request, client_address)
        except Exception as error:  # noqa: BLE001 - an overridden hook may raise anything
            self._report(error, "handle_error")

    def _report(self, error: BaseException, where: str) -> None:
        self.emit(
            events.SERVER_ERROR,
            error=describe(error),
            where=where,
            exception="".join(traceback.format_exception(error)),
        )

    def _discard(self, request: socket.socket) -> None:
        """Close past the hook that failed."""
        with suppress(OSError):
            socket.socket.close(request)

    def server_close(self) -> None:
        """Give the listening socket and the bell back."""
        super().server_close()
        self._stop_bell.close()


def describe(error: BaseException) -> str:
    """Name an error and say what it says, as the traceback does: whatever its `str` does."""
    return traceback.format_exception_only(error)[-1].rstrip()
