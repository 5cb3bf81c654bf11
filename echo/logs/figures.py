"""A log in figures: the verdict, who came, when, how much, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from echo.events import (
    EVENTS,
    SERVER_STARTED,
    SESSION_ACCEPTED,
    SESSION_CLOSED,
    SESSION_REFUSED,
    Reason,
)
from echo.logs.promises import Audit, audit
from echo.logs.reader import FOREIGN, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echo.logs.database import LogDatabase

    Rows = Sequence[tuple[Any, ...]]

# More bars than this are narrower than half a column of most terminals.
MOST_BARS = 80
# Of daemons, and of ends that were not clean, the last ones are listed.
MOST_NAMED = 50
_SECONDS = (1, 2, 5, 10, 15, 30)
_WIDTHS = [
    *_SECONDS,
    *(60 * count for count in _SECONDS),
    *(3600 * count for count in (1, 2, 3, 6, 12)),
    *(86400 * count for count in (1, 2, 7, 14, 28, 91, 365)),
]
_EPOCH = datetime(1970, 1, 1)  # UTC, as all times of the tables
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Bar:
    """What happened in one piece of the period, which begins at `start` (UTC).

    Bytes count where their session was closed; `at_once` is the most sessions at one time.
    """

    start: datetime
    accepted: int
    at_once: int
    received_bytes: int
    sent_bytes: int
    refused: int


@dataclass(frozen=True)
class Summary:
    """The figures of a log; `as_dict` has them by the log's names, `bars` over time.

    `audit` is what the promises came to. `bar_seconds` is the width of a bar.
    """

    audit: Audit
    figures: dict[str, Any]
    bars: list[Bar]
    bar_seconds: int

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON; times as the log writes them."""
        bars = [{**vars(bar), "start": written(bar.start)} for bar in self.bars]
        verdict = {"passed": self.audit.passed, "breach_counts": self.audit.breach_counts}
        return {**verdict, **self.figures, "bar_seconds": self.bar_seconds, "bars": bars}


def written(moment: datetime | None) -> str | None:
    """Return a time as the log writes it.

    >>> written(datetime(2026, 1, 31, 10))
    '2026-01-31T10:00:00.000000Z'
    """
    return None if moment is None else moment.isoformat(timespec="microseconds") + "Z"


def summarize(database: LogDatabase, most_peers: int = 10) -> Summary:
    """Return the figures of what a database lets through.

    Percentiles are by nearest rank: each is a value that occurred.
    """
    found = audit(database)
    first, last = database.row(
        "SELECT min(timestamp), max(timestamp) FROM figured WHERE kind IS NULL"
    )
    database.execute(_CHANGES)
    figures = {
        "files": [file.name for file in database.files if not file.problem],
        "first": written(first),
        "last": written(last),
        "daemons": _daemons(database),
        **_totals(database),
        "reasons": _counts(database, SESSION_CLOSED.name, "count(*)"),
        "refusals": _counts(database, SESSION_REFUSED.name, "sum(coalesce(count, 1))"),
        "duration_s": _percentiles(database, "duration_s"),
        "size_bytes": _percentiles(database, "received_bytes"),
        **_peers(database, most_peers),
        "busiest_minute": _busiest_minute(database),
        "other_ends": _other_ends(database),
        "lines": lines(database),
    }
    width = bar_width(first, last)
    return Summary(found, figures, _bars(database, first, last, width), width)


def _totals(database: LogDatabase) -> dict[str, int]:
    accepted, closed, refused, received, sent, starts = database.row(
        "SELECT count(*) FILTER (event = ?), count(*) FILTER (event = ?),"
        " coalesce(sum(coalesce(count, 1)) FILTER (event = ?), 0),"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0),"
        " coalesce(sum(sent_bytes) FILTER (event = ?), 0),"
        " count(*) FILTER (event = ?) FROM figured",
        [
            *(SESSION_ACCEPTED.name, SESSION_CLOSED.name, SESSION_REFUSED.name),
            *(SESSION_CLOSED.name, SESSION_CLOSED.name, SERVER_STARTED.name),
        ],
    )
    states = dict(database.rows("SELECT state, count(*) FROM chosen_sessions GROUP BY state"))
    (most,) = database.row("SELECT coalesce(max(at_once), 0) FROM changes")
    return {
        "accepted": accepted,
        "closed": closed,
        "refused": refused,
        "received_bytes": received,
        "sent_bytes": sent,
        **{state: states.get(state, 0) for state in ("open", "crashed", "lost")},
        "at_once": most,
        "starts": starts,
    }


def _daemons(database: LogDatabase) -> list[dict[str, Any]]:
    """Return the daemons that were started, the last `MOST_NAMED` of them."""
    rows = database.rows(
        "SELECT l.timestamp, host, port, l.pid, version, r.ended_at, r.state, r.run"
        " FROM runs r JOIN lines l ON l.rowid = started_row"
        " WHERE started_row IN (SELECT row FROM figured WHERE event = ?)"
        f" ORDER BY run DESC LIMIT {MOST_NAMED}",
        [SERVER_STARTED.name],
    )
    names = ("started", "host", "port", "pid", "version", "ended", "state", "run")
    found = [dict(zip(names, row, strict=True)) for row in reversed(rows)]
    return [{**d, "started": written(d["started"]), "ended": written(d["ended"])} for d in found]


def _busiest_minute(database: LogDatabase) -> dict[str, Any] | None:
    rows = database.rows(
        "SELECT date_trunc('minute', timestamp) AS minute, count(*) AS n FROM figured"
        " WHERE event = ? AND timestamp IS NOT NULL"
        " GROUP BY minute ORDER BY n DESC, minute LIMIT 1",
        [SESSION_ACCEPTED.name],
    )
    return {"start": written(rows[0][0]), "accepted": rows[0][1]} if rows else None


def _other_ends(database: LogDatabase) -> list[dict[str, Any]]:
    """Return up to `MOST_NAMED` unclean ends: first those with bytes left, then the last."""
    rows = database.rows(
        "SELECT timestamp, session_id, peer_ip, peer_port, reason, received_bytes, sent_bytes,"
        " duration_s FROM figured WHERE event = ? AND reason <> ?"
        " ORDER BY coalesce(sent_bytes < received_bytes, false) DESC, row DESC LIMIT ?",
        [SESSION_CLOSED.name, Reason.EOF, MOST_NAMED],
    )
    names = (
        *("timestamp", "session_id", "peer_ip", "peer_port", "reason"),
        *("received_bytes", "sent_bytes", "duration_s"),
    )
    return [
        {**dict(zip(names, row, strict=True)), "timestamp": written(row[0])}
        for row in sorted(rows, key=lambda row: row[0] or _EPOCH)
    ]


def _counts(database: LogDatabase, event: str, count: str) -> dict[str, int]:
    """Count an event by its reason, the commonest first."""
    return dict(
        database.rows(
            f"SELECT coalesce(reason, 'unknown') AS name, {count} AS n FROM figured"
            " WHERE event = ? GROUP BY name ORDER BY n DESC, name",
            [event],
        )
    )


def _percentiles(database: LogDatabase, field: str) -> dict[str, Any]:
    (found,) = database.row(
        f"SELECT quantile_disc({field}, {list(PERCENTILES.values())}) FROM figured WHERE event = ?",
        [SESSION_CLOSED.name],
    )
    return dict(zip(PERCENTILES, found or [None] * len(PERCENTILES), strict=True))


def _peers(database: LogDatabase, most: int) -> dict[str, Any]:
    rows = database.rows(
        "SELECT peer_ip, count(*) FILTER (event = ?) AS n,"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0) AS received FROM figured"
        " WHERE event IN (?, ?) AND peer_ip IS NOT NULL"
        " GROUP BY peer_ip ORDER BY n DESC, received DESC, peer_ip LIMIT ?",
        [*(SESSION_ACCEPTED.name, SESSION_CLOSED.name) * 2, most],
    )
    (count,) = database.row(
        "SELECT count(DISTINCT peer_ip) FROM figured WHERE event IN (?, ?)",
        [SESSION_ACCEPTED.name, SESSION_CLOSED.name],
    )
    names = ("peer_ip", "sessions", "received_bytes")
    return {"peer_count": count, "peers": [dict(zip(names, row, strict=True)) for row in rows]}


def lines(database: LogDatabase) -> dict[str, Any]:
    """Count what stands in the files, wanted or not, by what each line is."""
    kinds = dict(database.rows("SELECT kind, count(*) FROM lines GROUP BY kind"))
    unknown = [
        f"SELECT event, count(*) FROM lines WHERE kind IS NULL AND event NOT IN "
        f"({', '.join('?' * len(EVENTS))}) GROUP BY event ORDER BY count(*) DESC, event LIMIT 20",
        "SELECT field, count(*) FROM (SELECT unnest(others) AS field FROM lines WHERE kind IS NULL)"
        " GROUP BY field ORDER BY count(*) DESC, field LIMIT 20",
    ]
    kinds[FOREIGN] = kinds.get(FOREIGN, 0) + database.lines.skipped
    (small,) = database.row(
        "SELECT count(DISTINCT session_id) FROM lines WHERE event = ? AND received_bytes < ?",
        [SESSION_CLOSED.name, database.wanted.min_bytes],
    )
    return {
        "events": kinds.get(None, 0),
        **{kind: kinds.get(kind, 0) for kind in KINDS},
        "small_sessions": small,
        "unknown_events": dict(database.rows(unknown[0], list(EVENTS))),
        "unknown_fields": dict(database.rows(unknown[1])),
        "unreadable_files": {file.name: file.problem for file in database.files if file.problem},
    }


# -- over time --------------------------------------------------------------------------


def bar_width(first: datetime | None, last: datetime | None) -> int:
    """Choose the round width, in seconds, that needs at most about `MOST_BARS` bars.

    >>> bar_width(datetime(2026, 1, 31, 10), datetime(2026, 1, 31, 11))
    60
    """
    span = (last - first).total_seconds() if first and last else 0
    narrow = list(takewhile(lambda width: span / width > MOST_BARS, _WIDTHS))
    if len(narrow) < len(_WIDTHS):
        return _WIDTHS[len(narrow)]
    return int(span / MOST_BARS)  # a log with a strange time in it


# How many sessions there were at once, after each change.
_CHANGES = """
CREATE TABLE changes AS
WITH steps AS (
    SELECT began AS timestamp, coalesce(accepted_row, -1) AS row, 1 AS step FROM chosen_sessions
    UNION ALL SELECT ended, closed_row, -1 FROM chosen_sessions
)
SELECT timestamp, row_number() OVER order_ AS number, sum(step) OVER order_ AS at_once
FROM steps WHERE timestamp IS NOT NULL
WINDOW order_ AS (ORDER BY timestamp, row ROWS UNBOUNDED PRECEDING)
"""


def _bars(
    database: LogDatabase, first: datetime | None, last: datetime | None, width: int
) -> list[Bar]:
    if first is None or last is None:
        return []
    place = f"floor(epoch(timestamp) / {width})::BIGINT"
    sums = database.rows(
        f"SELECT {place} AS place, count(*) FILTER (event = ?),"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0),"
        " coalesce(sum(sent_bytes) FILTER (event = ?), 0),"
        " coalesce(sum(coalesce(count, 1)) FILTER (event = ?), 0) FROM figured"
        " WHERE timestamp IS NOT NULL GROUP BY place",
        [*(SESSION_ACCEPTED.name, SESSION_CLOSED.name, SESSION_CLOSED.name, SESSION_REFUSED.name)],
    )
    levels = database.rows(
        f"SELECT {place} AS place, max(at_once)::BIGINT, arg_max(at_once, number)::BIGINT"
        " FROM changes GROUP BY place ORDER BY place"
    )
    return list(_fill(_place(first, width), _place(last, width), width, sums, levels))


def _place(moment: datetime, width: int) -> int:
    return int((moment - _EPOCH).total_seconds() // width)


def _fill(begin: int, end: int, width: int, sums: Rows, levels: Rows) -> Iterator[Bar]:
    """Return a bar for each place, also where nothing happened: sessions live on meanwhile."""
    by_place = {row[0]: row[1:] for row in sums}
    changes = {row[0]: row[1:] for row in levels}
    level = next((row[2] for row in reversed(levels) if row[0] < begin), 0)
    for place in range(begin, end + 1):
        most, after = changes.get(place, (0, level))
        start = _EPOCH + timedelta(seconds=place * width)
        accepted, *rest = by_place.get(place, (0, 0, 0, 0))
        yield Bar(start, accepted, max(most, level), *rest)
        level = after
