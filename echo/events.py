"""The vocabulary of the log: every event, its level, its fields, and the closed lists of reasons.

Whatever writes an event takes it from here, whatever reads one checks it against this,
and the table in `logs/README.md` is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a session ended: each has exactly one."""

    EOF = "eof"
    RESET = "reset"
    IDLE_TIMEOUT = "idle_timeout"
    SESSION_TIMEOUT = "session_timeout"
    WRITE_TIMEOUT = "write_timeout"
    BYTE_LIMIT = "byte_limit"
    DRAINED = "drained"
    CUT = "cut"
    TLS_ERROR = "tls_error"
    PROXY_ERROR = "proxy_error"
    ERROR = "error"


class Refusal(StrEnum):
    """Why a connection did not become a session."""

    MAX_SESSIONS = "max_sessions"
    MAX_SESSIONS_PER_PEER = "max_sessions_per_peer"
    THREAD_LIMIT = "thread_limit"


class Stop(StrEnum):
    """Why the daemon stopped."""

    SIGNAL = "signal"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of line: its name, its level, the fields it has and those it may have."""

    name: str
    level: str
    meaning: str
    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()


_SESSION = ("session_id", "peer_ip", "peer_port")
_TOTALS = ("accepted", "closed", "refused", "received_bytes", "sent_bytes")

SERVER_STARTED = Event(
    "server.started",
    "info",
    "the daemon listens; `loop` is `python` or `compiled`, `limits` are those in force",
    ("host", "port", "pid", "version", "loop", "limits"),
    ("status_host", "status_port"),
)
SESSION_ACCEPTED = Event(
    "session.accepted",
    "info",
    "a session began; `fd` is its own socket's descriptor, `active_sessions` counts it in; "
    "`proxy_ip` and `proxy_port` are the proxy's where a PROXY header named the peer",
    (*_SESSION, "fd", "active_sessions"),
    ("proxy_ip", "proxy_port"),
)
SESSION_DATA = Event(
    "session.data",
    "debug",
    "one read; `preview` is its beginning, as text where it is UTF-8, and escaped",
    ("session_id", "bytes", "preview"),
)
SESSION_CLOSED = Event(
    "session.closed",
    "info",
    "a session ended; bytes are the payload that the loop read and sent; under TLS it says how, "
    "`tls_subject` is the client certificate's; `detail` says what was wrong with TLS or PROXY",
    (*_SESSION, "reason", "received_bytes", "sent_bytes", "duration_s"),
    ("tls_protocol", "tls_cipher", "tls_subject", "detail"),
)
SESSION_REFUSED = Event(
    "session.refused",
    "warning",
    "connections were closed at once; the line stands for `count` of them, and names the last",
    ("peer_ip", "peer_port", "reason", "count"),
)
ACCEPT_EXHAUSTED = Event(
    "accept.exhausted",
    "error",
    "the system has no descriptor or no memory for another connection; they wait in the backlog",
    ("error",),
)
ACCEPT_RESUMED = Event("accept.resumed", "info", "connections are accepted again", ("duration_s",))
LOG_DROPPED = Event(
    "log.dropped",
    "warning",
    "`count` lines were lost here: the log could not be written for long, or a processor failed",
    ("count",),
)
LOG_REOPENED = Event("log.reopened", "info", "HUP: the log file was opened anew", ("path",))
SERVER_STATE = Event(
    "server.state",
    "info",
    "USR1, USR2: the state at this moment; `log_payload` says whether reads are shown",
    ("active_sessions", *_TOTALS, "threads", "log_dropped", "log_payload", "uptime_s"),
)
SERVER_ERROR = Event(
    "server.error",
    "error",
    "a fault in the daemon, contained; `where` says in what, `exception` holds the traceback; "
    "`count`, where it is there, is how many equal faults the line stands for",
    ("error", "where"),
    ("exception", "count"),
)
SERVER_DRAINING = Event(
    "server.draining",
    "info",
    "a stop was asked for: no more connections, sessions are ended",
    ("signal", "active_sessions"),
)
SERVER_STOPPED = Event(
    "server.stopped",
    "info",
    "the last line of a daemon's life, with its totals",
    ("reason", *_TOTALS, "uptime_s"),
)

EVENTS: dict[str, Event] = {
    event.name: event
    for event in (
        SERVER_STARTED,
        SESSION_ACCEPTED,
        SESSION_DATA,
        SESSION_CLOSED,
        SESSION_REFUSED,
        ACCEPT_EXHAUSTED,
        ACCEPT_RESUMED,
        LOG_DROPPED,
        LOG_REOPENED,
        SERVER_STATE,
        SERVER_ERROR,
        SERVER_DRAINING,
        SERVER_STOPPED,
    )
}
