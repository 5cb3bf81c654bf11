"""The server: one listening socket, and one more for each client.

::

    serve_forever                    the accept thread
      get_request                    accept a connection: a Session
      verify_request                 take a slot for it, or refuse it
      process_request                hand it to a session thread

        attend                       the session's own thread, from its first line to its last
          process_request_thread
            finish_request           the handler: setup, handle, finish
          shutdown_request           let the peer read what is on its way (lingering close)
            close_request            give the slot and the descriptor back

The hooks are socketserver's, called in its order. What travels through them as the `request` is
the `Session`. What differs from socketserver is what happens when one of them fails;
`docs/design.md` says why.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from array import array
from collections import Counter, deque
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from echo import events
from echo.events import Reason, Refusal
from echo.limits import Limits
from echo.server.counting import CountingSocket
from echo.server.listener import ListeningServer
from echo.server.register import Register
from echo.server.session import DRAINING, PAYLOAD, Session, SessionEnd, SessionOver
from echo.server.shared_lines import SharedLines
from echo.server.slots import Slots
from echo.server.sockets import BROKEN, is_gone, linger
from echo.server.threads import SessionThreads
from echo.server.tuning import ANYWHERE, Pin
from echo.server.waiting import Wakeup
from echo.tls import TlsError

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Callable

    from echo.server.proxy import Proxies
    from echo.server.tls import TlsConfig

# Ends at which the peer may still be sending and reading, unless its own end of stream was read.
# After a write time-out or a broken connection nobody reads.
LINGERING = frozenset(
    {Reason.BYTE_LIMIT, Reason.DRAINED, Reason.IDLE_TIMEOUT, Reason.SESSION_TIMEOUT}
    | {Reason.EOF, Reason.ERROR}  # a handler may return, or fail, before the peer has ended
    | {Reason.TLS_ERROR}  # the alert that says what is wrong must arrive
)
# Seconds within which refusals for one reason share one line in the log.
REFUSAL_PERIOD = 1.0
# Sessions that have ended and are still shown.
LAST_ENDS = 50
# Peers whose refusals are counted one by one.
MOST_PEERS = 1000
# Seconds that session threads get to end by themselves after a cut, and then those that are
# at their last line already.
CUT_GRACE = 0.6
LINE_GRACE = 0.5


class EchoServer(ListeningServer):
    """A `ThreadingTCPServer` in which every resource has a bound and each session one last line.

    `server_address` is a host (an address, or a name; `"::"` serves IPv4 as well) and a port
    (0 picks a free one, which `server_address` then shows), or a socket that listens already,
    which is the server's from then on. `handler` is an `EchoHandler`, or any
    `StreamRequestHandler`. With `proxies`, each connection begins with a PROXY header that names
    its peer; with `tls`, all that follows is encrypted. Events go to `log`, a structlog logger or
    a `logging.Logger`; structlog's configuration, signals and all else that belongs to the process
    are left alone.

    Raises `OSError` when the address can't be resolved or bound, and `ValueError` for TLS with
    the compiled loop. The listening socket lives from here to `server_close`, which a `with`
    block calls.

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
        tls: TlsConfig | None = None,
    ) -> None:
        if tls is not None and getattr(handler, "loop", "python") == "compiled":
            raise ValueError("the compiled loop can't speak TLS: use EchoHandler")
        self.proxies = proxies
        self.tls = tls
        self.limits = limits or Limits()
        self.pin = pin
        # C integers, at which a compiled loop can look without the interpreter's lock.
        self.flags = array("i", [False, False])
        self.log_payload = log_payload
        self.started = time.monotonic()
        self.sessions = Register()
        self.ends: deque[dict[str, Any]] = deque(maxlen=LAST_ENDS)  # lines, the newest last
        self.refusals = SharedLines(self._write_refusals, REFUSAL_PERIOD)
        self.refused_by_peer: Counter[str] = Counter()
        self.wakeup = Wakeup()  # it is time to drain
        self.session_threads = SessionThreads()
        self._run_id = secrets.token_hex(4)  # keeps session ids unique across restarts
        self._numbers = count(1)
        slots = Slots(self.limits.max_sessions, self.limits.max_sessions_per_peer)
        try:
            super().__init__(server_address, handler, slots=slots, log=log, reuse_port=reuse_port)
        except BaseException:
            self._close_wakeups()
            raise
        self.shared_lines.append(self.refusals)

    def __repr__(self) -> str:
        host, port = self.server_address[:2]
        return f"<EchoServer {host!s}:{port} {self.slots.active}/{self.slots.limit} sessions>"

    # -- what it does and has done ------------------------------------------------------

    @property
    def uptime_s(self) -> float:
        """Seconds since the server was made."""
        return round(time.monotonic() - self.started, 6)

    @property
    def loop(self) -> str:
        """Which echo loop the handler has: `python` or `compiled`."""
        return str(getattr(self.RequestHandlerClass, "loop", "python"))

    @cached_property
    def loop_settings(self) -> Any:
        """What a compiled loop has to know of the server, which all sessions share."""
        handler: Any = self.RequestHandlerClass
        return handler.loop_settings(self)

    @property
    def log_payload(self) -> bool:
        """Whether each read is logged; may be changed while sessions run."""
        return bool(self.flags[PAYLOAD])

    @log_payload.setter
    def log_payload(self, wanted: bool) -> None:
        self.flags[PAYLOAD] = wanted

    @property
    def draining(self) -> bool:
        """Whether each session is to end once it has echoed what it has read."""
        return bool(self.flags[DRAINING])

    def totals(self) -> dict[str, int]:
        """Return the counts of all sessions, by the names in `server.stopped`."""
        return {
            "accepted": self.sessions.totals.accepted,
            "closed": self.sessions.totals.closed,
            "refused": self.refusals.total,
            **self.sessions.byte_totals(),
        }

    def state(self) -> dict[str, int]:
        """Return the totals and what is there now, by the names in `server.state`."""
        return {
            "active_sessions": self.slots.active,
            **self.totals(),
            "threads": threading.active_count(),
        }

    def server_activate(self) -> None:
        """Listen; sessions get the size of their kernel buffers from the listening socket."""
        if self.limits.socket_buffer:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                self.socket.setsockopt(socket.SOL_SOCKET, option, self.limits.socket_buffer)
        super().server_activate()

    # -- the accept thread --------------------------------------------------------------

    def connection(self, sock: socket.socket, peer_ip: str, peer_port: int) -> Session:
        """Return the session of an accepted socket."""
        session_id = f"{self._run_id}-{next(self._numbers)}"
        return Session(sock, peer_ip, peer_port, session_id=session_id)

    def verify_request(self, session: Any, client_address: Any) -> bool:
        """Take a slot for a session while there is one, in all and for its peer."""
        del client_address
        is_proxy = self.proxies is not None and self.proxies.trusts(session.peer_ip)
        refusal = self.slots.acquire(session, count_peer=not is_proxy)
        if refusal is not None:
            self._refuse(session, refusal)
            return False
        session.active_sessions = self.slots.active
        return True

    def process_request(self, session: Any, client_address: Any) -> None:
        """Hand a session to a thread of its own."""
        if not self.sessions.add(session):  # a drain began meanwhile
            self.close_request(session)
            return
        try:
            self.session_threads.run(self.attend, session, client_address)
        except BaseException as error:
            self.sessions.end(session, Reason.ERROR)  # it has no lines: it was never opened
            if not isinstance(error, RuntimeError | MemoryError):
                raise
            # What Thread.start raises when the system has no more threads, or no memory.
            self.discard(session)
            self._refuse(session, Refusal.THREAD_LIMIT)

    def _refuse(self, session: Session, refusal: Refusal) -> None:
        peer = {"peer_ip": session.peer_ip, "peer_port": session.peer_port}
        self.refusals.add(refusal, **peer, reason=refusal.value)
        if session.peer_ip in self.refused_by_peer or len(self.refused_by_peer) < MOST_PEERS:
            with self.slots.lock:
                self.refused_by_peer[session.peer_ip] += 1

    def _write_refusals(self, number: int, fields: dict[str, Any]) -> None:
        self.emit(events.SESSION_REFUSED, **fields, count=number)

    # -- a session's own thread ---------------------------------------------------------

    def attend(self, session: Session, client_address: Any) -> None:
        """Run one session, from its first line in the log to its last."""
        session.thread = threading.get_native_id()
        reason, failure = Reason.EOF, None
        try:
            try:
                if self.proxies is not None:
                    self._identify(session, self.proxies)
                if self.tls is not None:
                    self.tls.shake_hands(session, self)
            finally:  # its first line, whatever became of the header and the handshake
                self._open(session)
            self.process_request_thread(session, client_address)
        except SessionOver:
            pass
        except SessionEnd as end:
            reason, session.detail = end.reason, end.detail
        except TlsError as error:
            reason, session.detail = Reason.TLS_ERROR, str(error)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            broken = isinstance(error, OSError) and error.errno in BROKEN and is_gone(session.sock)
            reason, failure = (Reason.RESET, None) if broken else (Reason.ERROR, error)
        session.reason = reason
        try:
            self.shutdown_request(session)
        except BaseException as error:  # noqa: BLE001 - an overridden hook may raise anything
            reason, failure = Reason.ERROR, failure or error
        finally:
            if session.networks is not None or session.sock.fileno() >= 0:
                self.discard(session)  # what a hook has left open
        self._end(session, Reason.CUT if session.cut else reason, failure)

    def _open(self, session: Session) -> None:
        """Write a session's first line, unless a stop or a refusal has ended it before."""
        if not self.sessions.open(session):
            raise SessionOver
        line = {
            "session_id": session.session_id,
            "peer_ip": session.peer_ip,
            "peer_port": session.peer_port,
            "fd": session.sock.fileno(),
            "active_sessions": session.active_sessions,
            **session.proxy,
        }
        self.emit(events.SESSION_ACCEPTED, line)

    def _identify(self, session: Session, proxies: Proxies) -> None:
        """Read from the proxy who the peer is, and count the session's slot for that peer."""
        peer = proxies.read(session.sock, session.peer_ip, self.wakeup)
        if peer is None:
            return
        session.proxy = {"proxy_ip": session.peer_ip, "proxy_port": session.peer_port}
        session.peer_ip, session.peer_port = peer
        refusal = self.slots.assign(session)
        if refusal is not None:
            self._refuse(session, refusal)  # before a stop may find the register empty
            self.sessions.end(session, Reason.ERROR)  # it has no lines: it was never opened
            raise SessionOver

    def discard(self, connection: Any) -> None:
        """Release a session's slot and close it past the hooks, of which one has failed.

        A session that has a thread by now is only shut down: its thread closes the socket.
        """
        if getattr(connection, "thread", 0) in (0, threading.get_native_id()):
            super().discard(connection)
            return
        with self.slots.lock:
            if connection.networks is not None:
                connection.shut_down()

    def process_request_thread(self, session: Any, client_address: Any) -> None:
        """Let the handler serve its client."""
        self.finish_request(session, client_address)

    def finish_request(self, session: Any, client_address: Any) -> None:
        """Run the handler on the session's socket; return when it has ended.

        An `EchoHandler` takes the session. Every other handler gets a blocking socket that counts
        the session's bytes. Its idle time-out is the socket's, and a drain ends its input.
        """
        handler: Callable[..., object] = self.RequestHandlerClass
        if getattr(handler, "takes_session", False):
            handler(session, client_address, self)
            return
        session.stream.settimeout(self.limits.idle_timeout or None)
        sock = CountingSocket(session)
        try:
            handler(sock, client_address, self)
        except TimeoutError as error:
            if sock.timed_out is None:
                raise
            raise SessionEnd(sock.timed_out) from error
        if self.draining:
            raise SessionEnd(Reason.DRAINED)

    def shutdown_request(self, session: Any) -> None:
        """Close a session's socket; where the peer may still be sending, linger first."""
        if self.tls is not None:
            self.tls.say_goodbye(session)
        if session.reason in LINGERING and not session.peer_ended:
            linger(session.sock)
        self.close_request(session)

    def _end(self, session: Session, reason: Reason, failure: BaseException | None = None) -> None:
        """Write a session's last line, unless another thread has ended it."""
        line = self.sessions.end(session, reason)
        if line is None:
            return
        try:
            if failure is not None:
                try:
                    raise failure
                except BaseException:  # noqa: BLE001 - it is being handled for `handle_error`
                    self.contain(session, (session.peer_ip, session.peer_port))
        finally:
            self.ends.append(line)
            self.emit(events.SESSION_CLOSED, line)
            self.sessions.remove(session)

    # -- the end ------------------------------------------------------------------------

    def start_draining(self, grace: float | None = None) -> None:
        """Stop accepting, and ask each session to end once it has echoed what it has read.

        `grace` is what `shutdown` takes.
        """
        self.shutdown(grace)
        self.flags[DRAINING] = True
        self.wakeup.set()
        if not getattr(self.RequestHandlerClass, "takes_session", False):
            self._shut_down_all(socket.SHUT_RD)
        self.sessions.close_intake()
        self.flush_shared_lines()

    def drain(self, timeout: float) -> bool:
        """Drain for at most `timeout` seconds, then cut; return True if nothing had to be cut."""
        self.start_draining()
        drained = self.sessions.wait(timeout)
        if not drained:
            self.cut()
        return drained

    def cut(self) -> None:
        """End every session at once; when it returns, each has had its last line."""
        self._shut_down_all(socket.SHUT_RDWR)
        self.sessions.wait(CUT_GRACE)
        for session in self.sessions.live():  # its thread hangs, which must not cost the line
            self._end(session, Reason.CUT)
        self.sessions.wait(LINE_GRACE)

    def _shut_down_all(self, how: int) -> None:
        """Shut down every socket that is still its session's.

        A slot is released before its socket closes: without a slot, the descriptor may be
        another connection's by now.
        """
        with self.slots.lock:
            for session in self.sessions.live():
                if session.networks is not None:
                    session.cut = session.cut or how == socket.SHUT_RDWR
                    session.shut_down(how)

    def server_close(self) -> None:
        """Cut what is left and close everything; bounded in time."""
        self.start_draining()
        self.cut()
        super().server_close()
        self.session_threads.close()
        self._close_wakeups()

    def _close_wakeups(self) -> None:
        self.wakeup.close()
        self.sessions.close()
