"""One process's life: start to serve, look after the accept loop, answer signals, stop."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from echo import events
from echo.deadline import Deadline
from echo.events import Stop
from echo.server.listener import SHUTDOWN_GRACE, describe
from echo.server.signals import STOPPING
from echo.server.systemd import Notifier
from echo.server.tls import BadCertificate
from echo.server.watchdog import Watchdog, WatchedThread
from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echo.server.server import EchoServer
    from echo.server.signals import Signals
    from echo.server.status import StatusServer
    from echo.server.tls import TlsConfig

# Seconds that a stop takes beside the drain's own, for cut sessions and accept loops that hang: all
# of them together. With the log's last second it stays below two.
STOP_GRACE = 0.8
# Seconds between two looks at the threads that are to live as long as the daemon.
LOOK_INTERVAL = 1.0
# A service manager that wants to hear more often than this won't be obeyed.
LEAST_INTERVAL = 0.05


class DaemonLog(Protocol):
    """What a daemon asks of its log beside writing events."""

    level: str

    @property
    def dropped(self) -> int:
        """Lines that were lost."""

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """The threads that write it."""

    def reopen(self) -> None:
        """Open the log file anew."""


class Daemon:
    """Serves with `server` until a signal or a failure; `run` is called once, in the main thread.

    TERM and INT drain, a second one cuts; HUP reopens the log and reads the certificate again;
    USR1 logs the state; USR2 switches debug events on and off. The accept loop has a thread of
    its own. The main thread is the watchdog of this thread and of all others that are to live as
    long as the daemon: without one of them it ends instead of staying deaf or blind.
    """

    def __init__(
        self,
        server: EchoServer,
        log: DaemonLog,
        signals: Signals,
        *,
        notifier: Notifier | None = None,
        tls: TlsConfig | None = None,
        status: StatusServer | None = None,
    ) -> None:
        self.server = server
        self.log = log
        self.signals = signals
        self.notifier = notifier or Notifier({})
        self.tls = tls
        self.status = status
        # Three times within the manager's time: one look may come late, one find no heartbeat.
        wanted = max(self.notifier.watchdog / 3, LEAST_INTERVAL)
        self._look_interval = min(LOOK_INTERVAL, wanted)
        self._usual_level = log.level
        self._acceptor = WatchedThread(
            "accept loop",
            lambda: server.serve_forever(self._look_interval / 2),
            lambda: server.heartbeat,
        )
        watched = [self._acceptor, *log.threads, *([status.thread] if status else [])]
        self._watchdog = Watchdog(watched)
        self._next_look = Deadline(0)

    def run(self) -> Stop:
        """Serve, and return why it ended. All sessions are closed and logged by then."""
        hook, threading.excepthook = threading.excepthook, self._report_thread
        try:
            self._started()
            reason = self._serve()
            rest = Deadline(STOP_GRACE)
            self.server.start_draining(0)
            self.server.cut()
            servers = [self.server, self.status] if self.status is not None else [self.server]
            for server in servers:  # both write to the log
                server.shutdown(rest.left())
                server.flush_shared_lines()
            self.server.emit(
                events.SERVER_STOPPED,
                reason=reason.value,
                **self.server.totals(),
                uptime_s=self.server.uptime_s,
            )
        finally:
            threading.excepthook = hook
        return reason

    def _started(self) -> None:
        host, port = self.server.server_address[:2]
        status = self.status.server_address[:2] if self.status else ()
        self.server.emit(
            events.SERVER_STARTED,
            host=host,
            port=port,
            pid=os.getpid(),
            version=VERSION,
            loop=self.server.loop,
            limits=self.server.limits.as_dict(),
            **dict(zip(("status_host", "status_port"), status, strict=False)),
        )

    def _serve(self) -> Stop:
        """Serve until a signal asks for the end, or a thread is lost."""
        try:
            self._acceptor.start()
        except RuntimeError as error:  # the system has no thread left
            self.server.emit(events.SERVER_ERROR, error=describe(error), where=self._acceptor.name)
            return Stop.ERROR
        self.notifier.ready()
        while True:
            lost = self._lost_thread()
            if lost is not None:
                self.server.emit(events.SERVER_ERROR, where=lost[0], error=lost[1])
                return Stop.ERROR
            self._notify()
            name = self.signals.wait(self._look_interval)
            if name in STOPPING:
                self._drain(name)
                return Stop.SIGNAL
            self._answer(name)

    def _lost_thread(self) -> tuple[str, str] | None:
        """Look after the threads, unless a signal came in between two looks."""
        if not self._next_look.expired and self._acceptor.failure is None:
            return None
        self._next_look = Deadline(LOOK_INTERVAL)
        return self._watchdog.look()

    def _report_thread(self, ended: threading.ExceptHookArgs) -> None:
        """Report the exception that ended a thread, which Python would print on stderr."""
        if ended.exc_value is not None:
            name = ended.thread.name if ended.thread else "a thread"
            self.server.report(ended.exc_value, name)

    def _answer(self, name: str | None) -> None:
        if name == "SIGHUP":
            self._reload()
        elif name == "SIGUSR1":
            self._show_state()
        elif name == "SIGUSR2":
            self._toggle_debug()

    def _notify(self) -> None:
        """Report to the service manager that all is well, and how many sessions there are."""
        slots = self.server.slots
        self.notifier.alive(self.server.heartbeat)
        self.notifier.status(f"{slots.active}/{slots.limit} sessions")

    def _reload(self) -> None:
        self.notifier.reloading()
        self.log.reopen()
        try:
            if self.tls is not None:
                self.tls.reload()
        except BadCertificate as error:  # the old one goes on
            self.server.emit(events.SERVER_ERROR, error=str(error), where="certificates")
        self.notifier.ready()

    def _show_state(self) -> None:
        self.server.emit(
            events.SERVER_STATE,
            **self.server.state(),
            log_dropped=self.log.dropped,
            log_payload=self.server.log_payload,
            uptime_s=self.server.uptime_s,
        )

    def _toggle_debug(self) -> None:
        usual = "info" if self._usual_level == "debug" else self._usual_level
        self.log.level = usual if self.log.level == "debug" else "debug"
        self.server.log_payload = self.log.level == "debug"
        self._show_state()

    def _drain(self, name: str) -> None:
        deadline = Deadline(self.server.limits.drain_timeout)
        self.server.emit(
            events.SERVER_DRAINING, signal=name, active_sessions=self.server.slots.active
        )
        self.server.start_draining(min(SHUTDOWN_GRACE, deadline.left()))
        self.notifier.stopping(deadline.left())
        while not self.server.sessions.wait(0) and not deadline.expired:
            again = self.signals.wait(deadline.left(), self.server.sessions)
            if again in STOPPING:
                return
            self._answer(again)
