"""The register of the live sessions, each of which ends exactly once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from echo.server.session import State
from echo.server.totals import Totals
from echo.server.waiting import Waiter, Wakeup

if TYPE_CHECKING:
    from echo.events import Reason
    from echo.server.session import Session


class Register:
    """The sessions that are alive, and the totals of all that have been.

    A session is in the register from `add`, before its thread is chosen, to `remove`, after its
    last line in the log: when the register is empty, every line is written. In between,
    `open` and `end` move its state on. Each happens once, whichever thread comes first, so that
    a stop and the session's own thread can't both write its last line.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._live: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._is_last = False  # no more sessions come: the register may be reported as empty
        self._empty = Wakeup()

    def __repr__(self) -> str:
        return f"<Register {len(self._live)} live, {self.totals.accepted} accepted>"

    def live(self) -> list[Session]:
        """Return the sessions in the register, oldest first."""
        with self._lock:
            return list(self._live.values())

    def add(self, session: Session) -> bool:
        """Put a session into the register; return False if no more are taken."""
        with self._lock:
            if not self._is_last:
                self._live[session.session_id] = session
            return not self._is_last

    def open(self, session: Session) -> bool:
        """Count a session as accepted; return False if it has been ended before."""
        with self._lock:
            if session.state is State.ENDED:
                return False
            session.state = State.OPEN
            self.totals.accepted += 1
            return True

    def end(self, session: Session, reason: Reason) -> dict[str, Any] | None:
        """End a session, and return the fields of its last line for the caller to write.

        Returns None if there is nothing to write: another thread has ended it, or it was never
        opened. The counts are frozen here, as the thread of a session that hangs may go on.
        """
        with self._lock:
            was, session.state = session.state, State.ENDED
            if was is not State.OPEN:
                if was is not State.ENDED:
                    self._remove(session)
                return None
            line = session.last_line(reason)
            self.totals.add(line)
            return line

    def remove(self, session: Session) -> None:
        """Take a session out of the register: nothing more is written about it."""
        with self._lock:
            self._remove(session)

    def _remove(self, session: Session) -> None:
        self._live.pop(session.session_id, None)
        if self._is_last and not self._live:
            self._empty.set()

    def byte_totals(self) -> dict[str, int]:
        """Return the payload bytes of all sessions, the live ones included, by the log's names."""
        with self._lock:
            received, sent = self.totals.received_bytes, self.totals.sent_bytes
            live = [session for session in self._live.values() if session.state is not State.ENDED]
        # A session that ends from here on isn't in the sums above, so that each is counted once,
        # and no session waits while thousands are counted.
        for session in live:
            counts = session.counted()
            sent += counts.sent_bytes
            received += counts.received_bytes
        return {"received_bytes": received, "sent_bytes": sent}

    def close_intake(self) -> None:
        """Expect no more sessions: from now on `wait` ends when the last one is removed."""
        with self._lock:
            self._is_last = True
            if not self._live:
                self._empty.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the register is empty, after `close_intake`; return False if it is not."""
        return not self._live or Waiter(self._empty).readable(seconds)

    def fileno(self) -> int:
        """Return a descriptor that is readable once `wait` would return True."""
        return self._empty.fileno()

    def close(self) -> None:
        """Close the register's descriptors."""
        self._empty.close()
