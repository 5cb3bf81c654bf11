"""One process's life: start to serve, look after the accept loop, answer signals, stop."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from echo import events
from echo.deadline import Deadline
from echo.events import Stop
from echo.server.listener import describe
from echo.server.signals import STOPPING
from echo.server.systemd import Notifier
from echo.server.tls import BadCertificate
from echo.version import VERSION

if TYPE_CHECKING:
    from echo.server.server import EchoServer
    from echo.server.signals import Signals
    from echo.server.status import StatusServer
    from echo.server.tls import Certificates

# Seconds between two looks at the accept loop, and the looks without a sign of life after
# which it is given up. When nothing happens, a turn takes half of the time between two looks.
LOOK_INTERVAL = 1.0
PATIENCE = 10
# A service manager that wants to hear more often than this won't be obeyed.
LEAST_INTERVAL = 0.05


class Log(Protocol):
    """What a daemon asks of its log beside writing events."""

    level: str

    @property
    def dropped(self) -> int:
        """Lines that were lost."""

    def reopen(self) -> None:
        """Open the log file anew."""


class Daemon:
    """Serves with `server` until a signal or a failure; `run` is called once, in the main thread.

    TERM and INT drain, a second one cuts; HUP reopens the log and reads the certificate again;
    USR1 logs the state; USR2 switches debug events on and off. The accept loop has a thread of
    its own, and the main thread is its watchdog: a daemon that can't accept any more ends
    instead of staying deaf.
    """

    def __init__(
        self,
        server: EchoServer,
        log: Log,
        signals: Signals,
        *,
        notifier: Notifier | None = None,
        certificates: Certificates | None = None,
        status: StatusServer | None = None,
    ) -> None:
        self.server = server
        self.log = log
        self.signals = signals
        self.notifier = notifier or Notifier({})
        self.certificates = certificates
        self.status = status
        # Three times within the watchdog's time: one look may come late, one find no turn.
        wanted = max(self.notifier.watchdog / 3, LEAST_INTERVAL)
        self._look_interval = min(LOOK_INTERVAL, wanted)
        self._usual_level = log.level
        self._failure: BaseException | None = None
        self._acceptor = threading.Thread(target=self._accept, name="accept", daemon=True)
        self._turns_seen = -1
        self._silent = 0
        self._next_look = Deadline(0)

    def run(self) -> Stop:
        """Serve; say why it ended. All sessions are closed and logged by then."""
        self._started()
        self._start_accepting()
        reason = self._serve()
        self.server.start_draining()
        self.server.cut()
        self.server.refusals.flush()
        self.server.emit(
            events.SERVER_STOPPED,
            reason=reason.value,
            **self.server.totals(),
            uptime_s=self.server.uptime_s,
        )
        return reason

    def _started(self) -> None:
        host, port = self.server.server_address[:2]
        self.server.emit(
            events.SERVER_STARTED,
            host=host,
            port=port,
            pid=os.getpid(),
            version=VERSION,
            loop=self.server.loop,
            limits=self.server.limits.as_dict(),
            **self._status_facts(),
        )

    def _status_facts(self) -> dict[str, str | int]:
        if self.status is None:
            return {}
        host, port = self.status.server_address[:2]
        return {"status_host": str(host), "status_port": int(port)}

    def _start_accepting(self) -> None:
        try:
            self._acceptor.start()
            self.notifier.ready()
        except RuntimeError as error:  # the system has no thread left
            self._failure = error

    def _accept(self) -> None:
        try:
            self.server.serve_forever(self._look_interval / 2)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the daemon is deaf
            self._failure = error

    def _serve(self) -> Stop:
        while self._accepting():
            self._tell()
            name = self.signals.wait(self._look_interval)
            if name in STOPPING:
                self._drain(name)
                return Stop.SIGNAL
            self._answer(name)
        return Stop.ERROR

    def _accepting(self) -> bool:
        """Look whether the accept loop lives, and report it if it doesn't."""
        if self._failure is not None:
            self._give_up(describe(self._failure))
            return False
        if not self._next_look.expired:  # a signal came in between
            return True
        # Counted in looks, not in seconds: a stopped process (SIGSTOP) has not looked.
        self._next_look = Deadline(LOOK_INTERVAL)
        self._silent = self._silent + 1 if self.server.turns == self._turns_seen else 0
        self._turns_seen = self.server.turns
        if self._silent >= PATIENCE:
            self._give_up(f"no sign of life for {PATIENCE} s")
            return False
        return True

    def _give_up(self, error: str) -> None:
        self.server.emit(events.SERVER_ERROR, error=error, where="accept loop")

    def _answer(self, name: str | None) -> None:
        if name == "SIGHUP":
            self._reload()
        elif name == "SIGUSR1":
            self._show_state()
        elif name == "SIGUSR2":
            self._toggle_debug()

    def _tell(self) -> None:
        """Tell the service manager that all is well, and how many are served."""
        sessions = self.server.sessions
        self.notifier.alive(self.server.turns)
        self.notifier.status(f"{sessions.active}/{sessions.limits.max_sessions} sessions")

    def _reload(self) -> None:
        self.notifier.reloading()
        self.log.reopen()
        try:
            if self.certificates is not None:
                self.certificates.reload()
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
            events.SERVER_DRAINING, signal=name, active_sessions=self.server.sessions.active
        )
        self.server.start_draining()
        self.notifier.stopping()  # by now a manager that reads nothing takes nobody's time
        while not self.server.sessions.wait(0) and not deadline.expired:
            again = self.signals.wait(deadline.left(), self.server.sessions)
            if again in STOPPING:
                return
            self._answer(again)
