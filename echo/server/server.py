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

import secrets
import socket
import socketserver
import threading
import time
from array import array
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

from echo import events
from echo.events import Reason, Refusal
from echo.limits import LAST_ENDS, Limits
from echo.server.listener import ListeningServer
from echo.server.refusals import Refusals
from echo.server.session import Session, SessionEnd
from echo.server.sessions import Sessions
from echo.server.sockets import BROKEN, linger, peer_of
from echo.server.threads import SessionThreads
from echo.server.tuning import ANYWHERE, Pin
from echo.server.waiting import Bell

if TYPE_CHECKING:
    from echo.server.proxy import Proxies

# Ends at which the peer may still be sending. After its own end of stream it sends no more,
# after a write time-out or a broken connection nobody reads.
LINGERING = frozenset(
    {Reason.BYTE_LIMIT, Reason.DRAINED, Reason.IDLE_TIMEOUT, Reason.SESSION_TIMEOUT}
    | {Reason.TLS_ERROR}  # the alert that says what is wrong must arrive
)
# Places in `switches`, which the compiled loop knows by the same names.
PAYLOAD, DRAINING = 0, 1
# Seconds that session threads get to end by themselves after a cut, and then those that are
# at their last line already. With the log's last second they stay below two.
CUT_GRACE = 0.6
LINE_GRACE = 0.2


class EchoServer(ListeningServer):
    """A `ThreadingTCPServer` in which everything has a bound and each session one last line.

    `server_address` is a host (an address, or a name; `"::"` serves IPv4 as well) and a port
    (0 picks a free one, which `server_address` then shows), or a socket that listens already,
    which is the server's from then on. With `proxies`, each connection begins with a PROXY
    header that names its peer. Events go to `log`, a structlog
    logger; structlog's configuration, signals and all else that belongs to the process are
    left alone.

    Raises `OSError` when the address can't be resolved or bound. The listening socket lives
    from here to `server_close`, which a `with` block calls.

    >>> import threading
    >>> import structlog
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

    def __init__(
        self,
        server_address: tuple[str, int] | socket.socket,
        handler: type[socketserver.BaseRequestHandler],
        *,
        limits: Limits | None = None,
        log: Any = None,
        log_payload: bool = False,
        pin: Pin = ANYWHERE,
        reuse_port: bool = False,
        proxies: Proxies | None = None,
    ) -> None:
        self.proxies = proxies
        self.limits = limits or Limits()
        self.pin = pin
        # C integers, at which a compiled loop can look without the interpreter's lock.
        self.switches = array("i", [False, False])
        self.log_payload = log_payload
        self.started = time.monotonic()
        self.sessions = Sessions(self.limits)
        self.ends: deque[dict[str, Any]] = deque(maxlen=LAST_ENDS)  # lines, the newest last
        self.refusals = Refusals(self.emit)
        self.bell = Bell()  # wakes the sessions: it's time to drain
        self._session_threads = SessionThreads()
        self._run_id = secrets.token_hex(4)  # keeps session ids unique across restarts
        self._numbers = count(1)
        try:
            super().__init__(server_address, handler, log=log, reuse_port=reuse_port)
        except BaseException:
            self._close_bells()
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

    @property
    def loop(self) -> str:
        """Which echo loop the handler has: `python` or `compiled`."""
        return str(getattr(self.RequestHandlerClass, "loop", "python"))

    @property
    def log_payload(self) -> bool:
        """Whether each read is logged; may be switched while sessions run."""
        return bool(self.switches[PAYLOAD])

    @log_payload.setter
    def log_payload(self, wanted: bool) -> None:
        self.switches[PAYLOAD] = wanted

    @property
    def draining(self) -> bool:
        """Whether each session is to end once it has echoed what it has read."""
        return bool(self.switches[DRAINING])

    def totals(self) -> dict[str, int]:
        """Count what has been, by the names that `server.state` and `server.stopped` use."""
        return {
            "accepted": self.sessions.accepted,
            "closed": self.sessions.closed,
            "refused": self.refusals.total,
            **self.sessions.byte_totals(),
        }

    def state(self) -> dict[str, int]:
        """Count what is and what has been, by the names that `server.state` uses."""
        return {
            "active_sessions": self.sessions.active,
            **self.totals(),
            "threads": threading.active_count(),
        }

    # -- the accept thread --------------------------------------------------------------

    def service_actions(self) -> None:
        """Write the refusals whose common line is due."""
        self.refusals.flush_due()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Admit a connection while there is room, in all and for its peer."""
        del request
        peer_ip, peer_port = peer_of(client_address)
        is_proxy = self.proxies is not None and self.proxies.trusts(peer_ip)
        refusal = self.sessions.refusal(None if is_proxy else peer_ip)
        if refusal:
            self.refusals.add(refusal, peer_ip, peer_port)
        return refusal is None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a place and a thread of its own."""
        session = self._enter(request, client_address)
        try:
            self._session_threads.run(lambda: self._attend(session, client_address))
        except BaseException as error:
            self.sessions.forget(session)
            if not isinstance(error, RuntimeError | MemoryError):
                raise
            # What Thread.start raises when the system has no more threads, or no memory.
            self.close_request(request)
            self.refusals.add(Refusal.THREAD_LIMIT, session.peer_ip, session.peer_port)

    def _enter(self, request: socket.socket, client_address: Any) -> Session:
        session_id = f"{self._run_id}-{next(self._numbers)}"
        session = Session(session_id, request, *peer_of(client_address))
        self.sessions.enter(session)
        return session

    # -- a session's own thread ---------------------------------------------------------

    def _attend(self, session: Session, client_address: Any) -> None:
        """Run one session, from its first line in the log to its last."""
        session.thread = threading.get_native_id()
        try:
            refusal = self._meet(session)
            if refusal is not None:
                self.refusals.add(refusal, session.peer_ip, session.peer_port)
            elif self.sessions.open(session):
                self.emit(events.SESSION_ACCEPTED, **session.first_line())
                self.process_request_thread(session.request, client_address)
        except BaseException:  # noqa: BLE001 - an overridden hook may raise anything
            session.reason = Reason.ERROR
            self._contain(session.request, client_address)
        finally:
            if session.request.fileno() >= 0:  # whatever became of the hooks that close it
                self._discard(session.request)
            self._ended(session, session.reason)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Let the handler serve its client, and close the connection."""
        session = self.sessions[request]
        session.reason = self._run(session, client_address)
        self.shutdown_request(session.request)
        if session.cut:  # while its handler worked, or while it lingered
            session.reason = Reason.CUT

    def _meet(self, session: Session) -> Refusal | None:
        """Learn from the proxy, where there is one, who the peer is; refuse who has too many."""
        if self.proxies is None:
            return None
        try:
            peer = self.proxies.read(session.request, session.peer_ip, self.bell)
        except SessionEnd as end:
            session.obstacle = end
            return None
        return self.sessions.rename(session, *peer) if peer else None

    def _run(self, session: Session, client_address: Any) -> Reason:
        """Let the handler work, and say why it stopped."""
        try:
            if session.obstacle is not None:
                raise session.obstacle
            self.finish_request(session.request, client_address)
        except SessionEnd as end:
            session.detail = end.detail
            return end.reason
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            return self._blame(error, session, client_address)
        return session.reason

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

    def _ended(self, session: Session, reason: Reason) -> None:
        """Write the last line, unless somebody else does."""
        line = self.sessions.end(session, reason)
        if line is not None:
            self.ends.append(line)
            self.emit(events.SESSION_CLOSED, **line)
            self.sessions.forget(session)

    def _discard(self, request: socket.socket) -> None:
        self.sessions.give_back(request)
        super()._discard(request)

    # -- the end ------------------------------------------------------------------------

    def start_draining(self) -> None:
        """Stop accepting, and ask each session to end once it has echoed what it has read."""
        self.shutdown()
        self.switches[DRAINING] = True
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
            self._ended(session, Reason.CUT)
        self.sessions.wait(LINE_GRACE)

    def server_close(self) -> None:
        """Cut what is left and give everything back; bounded in time."""
        self.start_draining()
        self.cut()
        super().server_close()
        self._session_threads.close()
        self._close_bells()

    def _close_bells(self) -> None:
        self.bell.close()
        self.sessions.close()
