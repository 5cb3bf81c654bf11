"""The listening socket and its accept loop, which goes on whatever a connection brings."""

from __future__ import annotations

import os
import socket
import socketserver
import sys
import threading
import time
import traceback
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog

from echo import events
from echo.server.shared_lines import SharedLines
from echo.server.slots import Connection, Slots
from echo.server.sockets import (
    GONE_BEFORE_ACCEPT,
    OUT_OF_CAPACITY,
    peer_of,
    resolve,
    set_session_options,
)
from echo.server.waiting import Waiter, Wakeup
from echo.stdlog import event_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echo.events import Event

# The kernel shortens it to net.core.somaxconn. With socketserver's 5, four of five in a
# burst of 500 connects wait for seconds.
BACKLOG = 4096
# Out of descriptors, the accept loop tries again after this many seconds.
EXHAUSTED_PAUSE = 0.1
# Connections that are accepted before the loop looks at anything else, and before it lets
# their sessions run: without that it would begin hundreds before one is served.
BATCH = 64
RUN = 16
# Seconds that `shutdown` gives the accept loop to see that it is to stop.
SHUTDOWN_GRACE = 1.0
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})
# Seconds within which the same failure shares one line in the log.
ERROR_PERIOD = 1.0


class ListeningServer(socketserver.ThreadingTCPServer):
    """A `ThreadingTCPServer` whose accept loop goes on until it is told to stop.

    What goes through socketserver's hooks as the `request` is a `Connection`: the accepted
    socket with its peer and its slot. `verify_request` takes the slot, `close_request` gives it
    back, and so does whatever fails in between.

    In the framework's own loop an exception in `verify_request` ends the server, and an error
    of accept is swallowed, whether it is this connection's (go on), the system's (wait: else
    the loop spins at a full core) or the listening socket's (end: else the server is deaf).
    Here each has its own answer, and an event.

    `server_address` is where to listen, or a socket that listens already and is the server's
    from then on. Events go to `log`, a structlog logger or a `logging.Logger`. Raises `OSError`
    when the address can't be resolved or bound.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    # Linux hands the listening socket's options on to each accepted one.
    inherits_options = sys.platform == "linux"

    def __init__(
        self,
        server_address: tuple[str, int] | socket.socket,
        handler: type[socketserver.BaseRequestHandler],
        *,
        slots: Slots,
        log: Any = None,
        reuse_port: bool = False,
    ) -> None:
        self.slots = slots
        self.log = event_logger(structlog.get_logger("echo") if log is None else log)
        self.log_failures = 0
        self.errors = SharedLines(self._write_error, ERROR_PERIOD)
        self.shared_lines = [self.errors]
        self.heartbeat = 0  # counts the accept loop's iterations: a watchdog sees that it lives
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
        self._stop = Wakeup()
        self._loop_lock = threading.Lock()
        self._loop_over = threading.Event()
        self._loop_over.set()
        try:
            super().__init__(address, handler)
        except BaseException:
            self._stop.close()
            raise

    def emit(self, event: Event, fields: Mapping[str, Any] = NO_FIELDS, /, **others: Any) -> None:
        """Write one event, with a mapping of fields or with keywords.

        A logger that fails harms no session: failures are only counted.
        """
        try:
            getattr(self.log, event.level)(event.name, **(others or fields))
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
        """Listen, with the options that each accepted socket is to have."""
        set_session_options(self.socket)
        self.socket.setblocking(False)
        super().server_activate()

    # -- the accept thread --------------------------------------------------------------

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept until `shutdown`; raise `OSError` for what is wrong with the listening socket.

        Every `poll_interval` seconds at the latest it calls `service_actions`. Once `shutdown`
        was called it closes the listening socket, while sessions go on: later clients are
        refused at once and may ask another daemon, instead of waiting for a reset. After a
        `shutdown` it returns at once.
        """
        with self._loop_lock:
            if self._stopping:
                return
            self._loop_over.clear()
        try:
            waiter = Waiter(self.socket, self._stop)
            while not self._stopping:
                if waiter.readable(poll_interval):
                    self._accept_batch()
                try:
                    self.service_actions()
                except Exception as error:  # noqa: BLE001 - an overridden hook may raise anything
                    self.report(error, "service_actions")
                    self._pause()
                self.heartbeat += 1
        finally:
            if self._stopping:
                self.socket.close()
            self._loop_over.set()

    def shutdown(self, grace: float | None = None) -> None:
        """Stop accepting, for good, and wait `grace` seconds for the loop to end; sessions go on.

        By default the first call waits for 1 s, and the others don't: a loop that hangs costs a
        stop its second once. A loop that has not begun yet never begins.
        """
        with self._loop_lock:
            first, self._stopping = not self._stopping, True
        self._stop.set()
        usual = SHUTDOWN_GRACE if first else 0
        self._loop_over.wait(usual if grace is None else grace)

    def _accept_batch(self) -> None:
        """Accept what waits, at most `BATCH` connections, each as far as its own thread."""
        for taken in range(1, BATCH + 1):
            if self._stopping:
                return
            try:
                connection, address = self.get_request()
            except OSError as error:
                if self._goes_on_after(error):
                    continue
                return
            except Exception as error:  # noqa: BLE001 - an overridden hook may raise anything
                self.report(error, "get_request")
                self._pause()
                return
            self.heartbeat += 1
            self._broken_in_a_row = 0
            try:
                if self.verify_request(connection, address):
                    self.process_request(connection, address)
                else:
                    self.close_request(connection)
            except Exception:  # noqa: BLE001 - as above: this connection ends, the next is served
                self.contain(connection, address)
                self.discard(connection)
            if taken % RUN == 0:
                os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
        self._resumed()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection, with the session's options on its socket."""
        sock, address = self.socket.accept()
        if not self.inherits_options:
            try:
                set_session_options(sock)
            except OSError as error:  # it was reset meanwhile: its own error, not the listener's
                sock.close()
                raise ConnectionAbortedError(*error.args) from error
        return self.connection(sock, *peer_of(address)), address

    def connection(self, sock: socket.socket, peer_ip: str, peer_port: int) -> Connection:
        """Return what is to go through the hooks for an accepted socket."""
        return Connection(sock, peer_ip, peer_port)

    def _goes_on_after(self, error: OSError) -> bool:
        """Answer an error of accept(2): return True to accept the next, False to wait for it.

        The errors are sorted as accept(2) lists them. Raises what is the listening socket's own.
        """
        if isinstance(error, BlockingIOError):  # nobody waits any more
            self._resumed()
            return False
        if isinstance(error, ConnectionAbortedError) or error.errno in GONE_BEFORE_ACCEPT:
            self._broken_in_a_row += 1
            if self._broken_in_a_row % BATCH == 0:  # or the loop would spin
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
        """Report an exhaustion as over: nobody waits any more, or a whole batch got in.

        One connection that got in is no end of it: at the limit each session that closes lets
        one in, and each would be a pair of lines.
        """
        if self._exhausted_since is not None:
            lasted = round(time.monotonic() - self._exhausted_since, 6)
            self._exhausted_since = None
            self.emit(events.ACCEPT_RESUMED, duration_s=lasted)

    def _pause(self) -> None:
        """Let the cause of a failure pass, unless it is time to stop."""
        Waiter(self._stop).readable(EXHAUSTED_PAUSE)

    def service_actions(self) -> None:
        """Write the lines that failures share and that are due."""
        for lines in self.shared_lines:
            lines.flush_due()

    # -- what goes wrong ----------------------------------------------------------------

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception that is being handled: it ended this connection, nothing else."""
        del request, client_address
        error = sys.exception()
        if error is not None:
            self.report(error, traceback.extract_tb(error.__traceback__)[-1].name)

    def contain(self, request: Any, client_address: Any) -> None:
        """Call `handle_error`, and report an exception of that, too."""
        try:
            self.handle_error(request, client_address)
        except BaseException as error:  # noqa: BLE001 - an overridden hook may raise anything
            self.report(error, "handle_error")

    def report(self, error: BaseException, where: str) -> None:
        """Write a `server.error` with the traceback; the same one soon again shares a line."""
        text = describe(error)
        trace = "".join(traceback.format_exception(error))
        self.errors.add((where, type(error)), error=text, where=where, exception=trace)

    def flush_shared_lines(self) -> None:
        """Write what is left of the lines that failures share."""
        for lines in self.shared_lines:
            lines.flush()

    def _write_error(self, count: int, fields: dict[str, Any]) -> None:
        more = {"count": count} if count > 1 else {}
        self.emit(events.SERVER_ERROR, **fields, **more)

    # -- the end ------------------------------------------------------------------------

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Release the slot, then close: a client that sees the end may come again at once."""
        self.slots.release(request)
        request.sock.close()

    def discard(self, connection: Any) -> None:
        """Release a connection's slot and close it past the hooks, of which one has failed."""
        if isinstance(connection, Connection):
            self.slots.release(connection)
            connection = connection.sock
        with suppress(OSError):  # what an overridden `get_request` returns is closed as it is
            socket.socket.close(connection)

    def server_close(self) -> None:
        """Close the listening socket, and write what is left of shared lines."""
        self.flush_shared_lines()
        super().server_close()
        self._stop.close()


def describe(error: BaseException) -> str:
    """Return an error's class and text as a traceback shows them, even if its `str` raises."""
    return traceback.format_exception_only(error)[-1].rstrip()
