"""The limits that a user may set, each with its default and the reason for it.

The constants below `Limits` are bounds that several packages share; all others stand where they
are used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB


class BadLimit(ValueError):
    """A limit that can't be meant: `field` names it, the text says what it has to be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may take, and what all of them may take together.

    Times are seconds, sizes are bytes. Where a field says so, 0 is no limit.
    A value that makes no sense raises `BadLimit`, a `ValueError`.

    >>> Limits(max_sessions=100, idle_timeout=30).max_sessions
    100
    >>> Limits(buffer_size=0)
    Traceback (most recent call last):
        ...
    echo.limits.BadLimit: buffer_size must be at least 1, not 0
    """

    # A session costs one thread, one descriptor and about 52 KiB, the kernel's share included.
    max_sessions: int = 10_000
    """Sessions at once, in all."""

    # One host alone can't take every place; an IPv6 host has a whole /64. Raise it behind a load
    # balancer, where every session comes from the balancer's address.
    max_sessions_per_peer: int = 1_000
    """Sessions at once from one peer: an IPv4 address, or an IPv6 network of 64 bits."""

    # Long enough for a person who types, short enough that forgotten sessions go.
    idle_timeout: float = 300.0
    """Seconds without a byte from the peer that end a session; 0 is no limit."""

    # A day: what a test leaves behind is gone tomorrow.
    session_timeout: float = 86_400.0
    """Seconds that a session may last; 0 is no limit."""

    # A peer whose system takes nothing at all for a minute is not slow, it is stuck. TCP doesn't
    # tell when the program behind it reads.
    write_timeout: float = 60.0
    """Seconds in which a peer's system takes no byte of the echo that end a session."""

    # Bytes that pass through hold nothing, so that there is no limit unless one is set.
    max_bytes: int = 0
    """Bytes that a session may send; 0 is no limit."""

    # Measured on loopback: 16 to 32 KiB are best; 64 KiB, just above the segment of
    # 65,483 bytes, gives half of their throughput and 512 bytes a fifteenth.
    buffer_size: int = 32 * KIB
    """Bytes read at once."""

    # The system grows its buffers as a connection needs it: up to 4 MiB to send and 6 MiB to
    # receive on Linux. A fixed size bounds what a client that never reads costs.
    socket_buffer: int = 0
    """Size of each of the kernel's two buffers of a session; 0 lets the system choose."""

    # Half of the ten seconds after which container engines kill what they stop.
    drain_timeout: float = 5.0
    """Seconds that a stop waits for sessions before it cuts them."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not value >= least:  # in these words NaN fails, too
                raise BadLimit(name, f"must be at least {least}, not {value}")
            if value > most:
                raise BadLimit(name, f"must be at most {most}, not {value}")

    def as_dict(self) -> dict[str, int | float]:
        """Names and values, as `server.started` shows them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


# The longest time is what poll(2) takes: 2**31 milliseconds, 24 days.
LONGEST = 2_000_000
_RANGES: dict[str, tuple[float, float]] = {
    "max_sessions": (1, 1_000_000),
    "max_sessions_per_peer": (1, 1_000_000),
    "idle_timeout": (0, LONGEST),
    "session_timeout": (0, LONGEST),
    "write_timeout": (0.001, LONGEST),
    "max_bytes": (0, 2**62),
    "buffer_size": (1, 16 * MIB),
    "socket_buffer": (0, 1024 * MIB),
    "drain_timeout": (0, LONGEST),
}

# Lines that wait for the log's writer: about 60,000 of a usual length.
LOG_QUEUE_BYTES = 16 * MIB
# The longest line. In a longer one each text keeps its end, where a traceback says what it is:
# this many characters, or fewer where escapes make them long.
LOG_LINE_BYTES = 2 * KIB
LOG_FIELD_CHARS = 1500
# What the log may take on the disk: one file in use and these many older ones, of this size.
LOG_FILE_BYTES = 64 * MIB
LOG_FILES_KEPT = 5
# The largest payload of one exchange that the tools send: they keep it to compare the echo.
PAYLOAD_BYTES = 64 * MIB
# More than the socket buffers of both ends hold together, as Linux sizes them by
# default: at most 4 MiB to send and 6 MiB to receive.
BEYOND_BUFFERS = 16 * MIB + 1
