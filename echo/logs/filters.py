"""Which lines of a log are wanted. Every command means the same by an option."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from echo.events import SESSION_CLOSED
from echo.logs.eventlog import LEVELS
from echo.logs.times import utc

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Open sessions of the wanted peers that are remembered.
_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What is wanted of a line: values of one field are ORed, different fields are ANDed.

    A line of a session counts as one of its peer, though not each names it. `since` is included,
    `until` is not; both are in UTC. `level` is the least one. Of a session that ended with fewer
    than `min_bytes` received no line is wanted; one without an end may still get them.
    """

    peers: tuple[IPv4Network | IPv6Network, ...] = ()
    sessions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    level: str = "debug"
    min_bytes: int = 0

    @property
    def takes_foreign_lines(self) -> bool:
        """Whether lines are wanted that are no event: nothing but small sessions is left out."""
        return replace(self, min_bytes=0) == Filter()

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that are not wanted; an unknown one always is."""
        return tuple(name for name, rank in LEVELS.items() if rank < LEVELS[self.level])

    def is_small(self, fields: Mapping[str, Any]) -> bool:
        """Return whether an event is the end of a session with fewer bytes than are wanted."""
        received = fields.get("received_bytes")
        return (
            fields["event"] == SESSION_CLOSED.name
            and isinstance(received, int)
            and received < self.min_bytes
        )

    def has_peer(self, address: object) -> bool:
        """Return whether an address, as the log writes it, is one of the peers wanted."""
        try:
            found = ip_address(str(address))
        except ValueError:
            return False
        return any(found in network for network in self.peers)


@dataclass
class Matcher:
    """Applies a filter to lines, one after the other.

    A line of a session that doesn't name the peer, as `session.data`, belongs to the peer that
    an earlier line of that session named. `small` are the ids of the sessions that `min_bytes`
    leaves out: a session's first lines don't say how it ends.
    """

    filter: Filter
    small: Collection[str] = frozenset()
    _of_peers: set[str] = field(default_factory=set)

    def matches(self, fields: Mapping[str, Any] | None) -> bool:
        """Return whether an event is wanted; what is no event is where there is no filter."""
        if fields is None:
            return self.filter.takes_foreign_lines
        if self.small and session_of(fields) in self.small:
            return False
        return self._has_names(fields) and self._has_time(fields) and self._has_peer(fields)

    def _has_names(self, fields: Mapping[str, Any]) -> bool:
        wanted = self.filter
        return (
            (not wanted.sessions or fields.get("session_id") in wanted.sessions)
            and (not wanted.events or fields["event"] in wanted.events)
            and (not wanted.reasons or fields.get("reason") in wanted.reasons)
            and fields.get("level") not in wanted.levels
        )

    def _has_time(self, fields: Mapping[str, Any]) -> bool:
        since, until = self.filter.since, self.filter.until
        if not (since or until):
            return True
        found = _time(fields.get("timestamp"))
        return (
            found is not None
            and (since is None or found >= since)
            and (until is None or found < until)
        )

    def _has_peer(self, fields: Mapping[str, Any]) -> bool:
        if not self.filter.peers:
            return True
        session = str(fields.get("session_id", ""))
        if "peer_ip" not in fields:
            return session in self._of_peers
        found = self.filter.has_peer(fields["peer_ip"])
        if fields["event"] == SESSION_CLOSED.name:
            self._of_peers.discard(session)
        elif found and session and len(self._of_peers) < _REMEMBERED:
            self._of_peers.add(session)
        return found


def session_of(fields: Mapping[str, Any]) -> str | None:
    """Return the id of the session that an event belongs to; None for an event of none."""
    session = fields.get("session_id")
    return None if session is None else str(session)


def _time(stamp: object) -> datetime | None:
    """Return a time of a log, in UTC where it names no zone; None for what is no time."""
    with suppress(ValueError, TypeError, OverflowError):
        return utc(datetime.fromisoformat(stamp))  # type: ignore[arg-type]
    return None
