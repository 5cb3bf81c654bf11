"""The server: one listening socket, and one more for each client.

::

    serve_forever                    the accept thread
      get_request                    take a connection off the backlog
      verify_request                 admit it, or refuse it
      process_request                give it a place and a thread

        process_request_thread       the session's own thread
          finish_request             the handler's life: setup, handle, finish
          shutdown_request           let the peer read what is on its way
            close_request            give the place and the descriptor back

These are socketserver's hooks in the order in which socketserver calls them. What differs is
what happens when one of them fails; `docs/design.md` says why.
"""

from __future__ import annotations

import os
import secrets
import socket
import socketserver
import sys
import threading
import time
import traceback
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from echo import events
from echo.events import Reason, Refusal
from echo.limits import BACKLOG, EXHAUSTED_PAUSE, Limits
from echo.server.refusals import Refusals
from echo.server.sessions import Session, SessionEnd, Sessions
from echo.server.sockets import (
    BROKEN,
    GONE_BEFORE_ACCEPT,
    OUT_OF_CAPACITY,
    linger,
    peer_of,
    resolve,
    set_session_options,
)
from echo.server.threads import SessionThreads
from echo.server.waiting import Bell, Waiter

if TYPE_CHECKING:
    from echo.events import Event

# Ends at which the peer may still be sending. After its own end of stream it sends no more,
# after a write time-out or a broken connection nobody reads.
LINGERING = frozenset(
    {Reason.BYTE_LIMIT, Reason.DRAINED, Reason.IDLE_TIMEOUT, Reason.SESSION_TIMEOUT}
)
# Seconds that session threads get to write their last lines after a cut, and the accept loop
# to see that it is to stop.
CUT_GRACE = 0.5
SHUTDOWN_GRACE = 1.0


class EchoServer(socketserver.ThreadingTCPServer):
    """A `ThreadingTCPServer` in which everything has a bound and each session one last line.

    `server_address` is a host (an address, or a name; `"::"` serves IPv4 as well) and a port
    (0 picks a free one, which `server_address` then shows). Events go to `log`, a structlog
    logger; structlog's configuration, signals and all else that belongs to the process are
    left alone.

    Raises `OSError` when the address can't be resolved or bound. The listening socket lives
    from here to `server_close`, which a `with` block calls.

    >>> from echo import EchoClient, EchoHandler
    >>> quiet = structlog.testing.CapturingLogger()
    >>> with EchoServer(("127.0.0.1", 0), EchoHandler, log=quiet) as server:
    ...     threading.Thread(target=server.serve_forever).start()
    ...     with EchoClient(*server.server_address) as client:
    ...         client.echo(b"hello")
    ...     server.drain(timeout=5)
    b'hello'
    True
    """

    # On Windows this option lets others take the port over.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    # Connections taken off the backlog before the accept loop looks at anything else.
    accept_batch = 64

    def __init__(
        self,
        server_address: tuple[str, int],
        handler: type[socketserver.BaseRequestHandler],
        *,
        limits: Limits | None = None,
        log: Any = None,
        log_payload: bool = False,
        reuse_port: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.log = structlog.get_logger("echo") if log is None else log
        self.log_payload = log_payload
        self.log_failures = 0
        self.allow_reuse_port = reuse_port
        self.draining = False
        self.turns = 0  # of the accept loop: by them a watchdog sees that it lives
        self.started = time.monotonic()
        self.address_family, address = resolve(*server_address)
        self.sessions = Sessions(self.limits)
        self.refusals = Refusals(self.emit)
        self.bell = Bell()  # wakes the sessions: it's time to drain
        self._stop_bell = Bell()  # wakes the accept loop: it's time to stop
        self._session_threads = SessionThreads()
        self._run_id = secrets.token_hex(4)  # keeps session ids unique across restarts
        self._numbers = count(1)
        self._exhausted_since: float | None = None
        self._loop_over = threading.Event()
        self._loop_over.set()
        self._stopping = False
        try:
            super().__init__(address, handler)
        except BaseException:
            self._close_descriptors()
            raise

    def __repr__(self) -> str:
        host, port = self.server_address[:2]
        return (
            f"<EchoServer {host!s}:{port} "
            f"{self.sessions.active}/{self.limits.max_sessions} sessions>"
        )

    @property
    def uptime_s(self) -> float:
        """Seconds since the server was made."""
        return round(time.monotonic() - self.started, 6)

    def totals(self) -> dict[str, int]:
        """Count what has been, by the names that `server.state` and `server.stopped` use."""
        return {
            "accepted": self.sessions.accepted,
            "closed": self.sessions.closed,
            "refused": self.refusals.total,
            **self.sessions.byte_totals(),
        }

    def emit(self, event: Event, **fields: Any) -> None:
        """Write one event. Whatever is wrong with the log is no session's concern."""
        try:
            getattr(self.log, event.level)(event.name, **fields)
        except Exception:  # noqa: BLE001 - the logger is the caller's and may raise anything
            self.log_failures += 1

    # -- listening ----------------------------------------------------------------------

    def server_bind(self) -> None:
        """Bind; `"::"` takes IPv4 connections too, whatever the system's default is."""
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

        Looks up every `poll_interval` seconds at the latest, for `service_actions`.
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
            self._loop_over.set()

    def shutdown(self) -> None:
        """Stop accepting, for good, and wait up to 1 s for the loop to end; sessions go on."""
        self._stopping = True
        self._stop_bell.ring()
        self._loop_over.wait(SHUTDOWN_GRACE)

    def service_actions(self) -> None:
        """Write the refusals whose common line is due."""
        self.refusals.flush_due()

    def _accept_some(self) -> None:
        for _ in range(self.accept_batch):
            if self._stopping or not self._accept_one():
                return

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
        self._resumed()
        self._admit(request, address)
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, and see to it that the new socket has the session's options."""
        request, address = self.socket.accept()
        if sys.platform != "linux":  # there it inherits them
            set_session_options(request)
        return request, address

    def _accept_failed(self, error: OSError) -> bool:
        if isinstance(error, BlockingIOError):
            return False
        if error.errno in GONE_BEFORE_ACCEPT:
            return True
        if error.errno not in OUT_OF_CAPACITY:
            raise error
        if self._exhausted_since is None:
            self._exhausted_since = time.monotonic()
            self.emit(events.ACCEPT_EXHAUSTED, error=describe(error))
        self._pause()
        return False

    def _resumed(self) -> None:
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

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Admit a connection while there is room, in all and for its peer."""
        del request
        peer_ip, peer_port = peer_of(client_address)
        refusal = self.sessions.refusal(peer_ip)
        if refusal:
            self.refusals.add(refusal, peer_ip, peer_port)
        return refusal is None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a place and a thread of its own."""
        session = self._enter(request, client_address)
        try:
            self._session_threads.run(lambda: self.process_request_thread(request, client_address))
        except (RuntimeError, MemoryError):  # the system has no thread, or no memory for one
            self.close_request(request)
            self.sessions.forget(session)
            self.refusals.add(Refusal.THREAD_LIMIT, session.peer_ip, session.peer_port)

    def _enter(self, request: socket.socket, client_address: Any) -> Session:
        session_id = f"{self._run_id}-{next(self._numbers)}"
        session = Session(session_id, request, *peer_of(client_address))
        self.sessions.enter(session)
        return session

    # -- a session's own thread ---------------------------------------------------------

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Run one session, from its first line in the log to its last."""
        session = self.sessions[request]
        self._opened(session)
        session.reason = self._run(session, client_address)
        try:
            self.shutdown_request(request)
        except Exception:  # noqa: BLE001 - an overridden hook may raise anything
            self._contain(request, client_address)
            self._discard(request)
        self._ended(session)

    def _run(self, session: Session, client_address: Any) -> Reason:
        """Let the handler work, and say why it stopped."""
        try:
            self.finish_request(session.request, client_address)
        except SessionEnd as end:
            reason = end.reason
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            reason = self._blame(error, session, client_address)
        else:
            reason = session.reason
        return Reason.CUT if session.cut else reason

    def _blame(self, error: BaseException, session: Session, client_address: Any) -> Reason:
        if isinstance(error, OSError) and error.errno in BROKEN:
            return Reason.RESET
        self._contain(session.request, client_address)
        return Reason.ERROR

    def shutdown_request(self, request: Any) -> None:
        """Close a session's socket; where the peer may still be sending, linger first."""
        if self.sessions[request].reason in LINGERING:
            linger(request)
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Give the place back, then the descriptor: a peer that sees the end may come again."""
        self.sessions.give_back(request)
        request.close()

    def _opened(self, session: Session) -> None:
        self.sessions.open(session)
        self.emit(
            events.SESSION_ACCEPTED,
            session_id=session.session_id,
            peer_ip=session.peer_ip,
            peer_port=session.peer_port,
            fd=session.request.fileno(),
            active_sessions=self.sessions.active,
        )

    def _ended(self, session: Session) -> None:
        if self.sessions.end(session):
            self.emit(
                events.SESSION_CLOSED,
                session_id=session.session_id,
                peer_ip=session.peer_ip,
                peer_port=session.peer_port,
                reason=session.reason.value,
                received_bytes=session.received_bytes,
                sent_bytes=session.sent_bytes,
                duration_s=session.duration_s,
            )
        self.sessions.forget(session)

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
        """Close past the hook that failed; what has a thread is closed by its thread."""
        self.sessions.give_back(request)
        with suppress(OSError):
            socket.socket.close(request)

    # -- the end ------------------------------------------------------------------------

    def start_draining(self) -> None:
        """Stop accepting, and ask each session to end once it has echoed what it has read."""
        self.shutdown()
        self.draining = True
        self.bell.ring()
        self.sessions.drain()
        self.refusals.flush()

    def drain(self, timeout: float) -> bool:
        """Drain for at most `timeout` seconds, then cut; True if nothing had to be cut."""
        self.start_draining()
        drained = self.sessions.wait(timeout)
        if not drained:
            self.cut()
        return drained

    def cut(self) -> None:
        """End every session at once, and see to it that each has had its last line."""
        self.sessions.cut()
        self.sessions.wait(CUT_GRACE)
        for session in self.sessions.live():  # its thread hangs, which must not cost the line
            session.reason = Reason.CUT
            self._ended(session)

    def server_close(self) -> None:
        """Cut what is left and give everything back; bounded in time."""
        self.start_draining()
        self.cut()
        super().server_close()
        self._session_threads.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for owner in (self.bell, self._stop_bell, self.sessions):
            owner.close()


def describe(error: BaseException) -> str:
    """Name an error and say what it says."""
    return f"{type(error).__name__}: {error}"
