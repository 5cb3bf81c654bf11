"""What a log says in figures: who came, when, how much, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from echo.events import EVENTS, SERVER_STARTED, SESSION_ACCEPTED, SESSION_CLOSED, SESSION_REFUSED
from echo.logs.feed import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echo.logs.journal import Journal

    Rows = Sequence[tuple[Any, ...]]

# Of each picture: more bars than this are narrower than half a column of most terminals.
MOST_BARS = 80
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


@dataclass(frozen=True)
class Summary:
    """The figures of a log; `as_dict` has them by the log's names, `bars` drawn over time.

    `bar_seconds` is the width of a bar.
    """

    figures: dict[str, Any]
    bars: list[Bar]
    bar_seconds: int

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values for JSON; times as the log writes them."""
        bars = [{**vars(bar), "start": written(bar.start)} for bar in self.bars]
        return {**self.figures, "bar_seconds": self.bar_seconds, "bars": bars}


def written(moment: datetime | None) -> str | None:
    """Write a time as the log does.

    >>> written(datetime(2026, 1, 31, 10))
    '2026-01-31T10:00:00.000000Z'
    """
    return None if moment is None else moment.isoformat(timespec="microseconds") + "Z"


def summarize(journal: Journal, most_peers: int = 10) -> Summary:
    """Work out the figures of what a journal lets through.

    Percentiles are by nearest rank: each is a value that occurred.
    """
    first, last = journal.row(
        "SELECT min(timestamp), max(timestamp) FROM chosen WHERE kind IS NULL"
    )
    journal.execute(_CHANGES)
    figures = {
        "files": [file.name for file in journal.files if not file.problem],
        "first": written(first),
        "last": written(last),
        **_totals(journal),
        "reasons": _counts(journal, SESSION_CLOSED.name, "count(*)"),
        "refusals": _counts(journal, SESSION_REFUSED.name, "sum(coalesce(count, 1))"),
        "duration_s": _percentiles(journal, "duration_s"),
        "size_bytes": _percentiles(journal, "received_bytes"),
        **_peers(journal, most_peers),
        "lines": lines(journal),
    }
    width = bar_width(first, last)
    return Summary(figures, _bars(journal, first, last, width), width)


def _totals(journal: Journal) -> dict[str, int]:
    accepted, closed, refused, received, sent, starts = journal.row(
        "SELECT count(*) FILTER (event = ?), count(*) FILTER (event = ?),"
        " coalesce(sum(coalesce(count, 1)) FILTER (event = ?), 0),"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0),"
        " coalesce(sum(sent_bytes) FILTER (event = ?), 0),"
        " count(*) FILTER (event = ?) FROM chosen",
        [
            *(SESSION_ACCEPTED.name, SESSION_CLOSED.name, SESSION_REFUSED.name),
            *(SESSION_CLOSED.name, SESSION_CLOSED.name, SERVER_STARTED.name),
        ],
    )
    states = dict(journal.rows("SELECT state, count(*) FROM chosen_sessions GROUP BY state"))
    (most,) = journal.row("SELECT coalesce(max(at_once), 0) FROM changes")
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


def _counts(journal: Journal, event: str, count: str) -> dict[str, int]:
    """Count an event by its reason, the commonest first."""
    return dict(
        journal.rows(
            f"SELECT coalesce(reason, 'unknown') AS name, {count} AS n FROM chosen"
            " WHERE event = ? GROUP BY name ORDER BY n DESC, name",
            [event],
        )
    )


def _percentiles(journal: Journal, field: str) -> dict[str, Any]:
    (found,) = journal.row(
        f"SELECT quantile_disc({field}, {list(PERCENTILES.values())}) FROM chosen WHERE event = ?",
        [SESSION_CLOSED.name],
    )
    return dict(zip(PERCENTILES, found or [None] * len(PERCENTILES), strict=True))


def _peers(journal: Journal, most: int) -> dict[str, Any]:
    rows = journal.rows(
        "SELECT peer_ip, count(*) FILTER (event = ?) AS n,"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0) AS received FROM chosen"
        " WHERE event IN (?, ?) AND peer_ip IS NOT NULL"
        " GROUP BY peer_ip ORDER BY n DESC, received DESC, peer_ip LIMIT ?",
        [*(SESSION_ACCEPTED.name, SESSION_CLOSED.name) * 2, most],
    )
    (count,) = journal.row(
        "SELECT count(DISTINCT peer_ip) FROM chosen WHERE event IN (?, ?)",
        [SESSION_ACCEPTED.name, SESSION_CLOSED.name],
    )
    names = ("peer_ip", "sessions", "received_bytes")
    return {"peer_count": count, "peers": [dict(zip(names, row, strict=True)) for row in rows]}


def lines(journal: Journal) -> dict[str, Any]:
    """Count what stands in the files, wanted or not, by what each line is."""
    kinds = dict(journal.rows("SELECT kind, count(*) FROM lines GROUP BY kind"))
    unknown = [
        f"SELECT event, count(*) FROM lines WHERE kind IS NULL AND event NOT IN "
        f"({', '.join('?' * len(EVENTS))}) GROUP BY event ORDER BY count(*) DESC, event LIMIT 20",
        "SELECT field, count(*) FROM (SELECT unnest(others) AS field FROM lines WHERE kind IS NULL)"
        " GROUP BY field ORDER BY count(*) DESC, field LIMIT 20",
    ]
    return {
        "events": kinds.get(None, 0),
        **{kind: kinds.get(kind, 0) for kind in KINDS},
        "unknown_events": dict(journal.rows(unknown[0], list(EVENTS))),
        "unknown_fields": dict(journal.rows(unknown[1])),
        "unreadable_files": {file.name: file.problem for file in journal.files if file.problem},
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


def _bars(journal: Journal, first: datetime | None, last: datetime | None, width: int) -> list[Bar]:
    if first is None or last is None:
        return []
    place = f"floor(epoch(timestamp) / {width})::BIGINT"
    sums = journal.rows(
        f"SELECT {place} AS place, count(*) FILTER (event = ?),"
        " coalesce(sum(received_bytes) FILTER (event = ?), 0),"
        " coalesce(sum(sent_bytes) FILTER (event = ?), 0) FROM chosen"
        " WHERE timestamp IS NOT NULL GROUP BY place",
        [SESSION_ACCEPTED.name, SESSION_CLOSED.name, SESSION_CLOSED.name],
    )
    levels = journal.rows(
        f"SELECT {place} AS place, max(at_once)::BIGINT, arg_max(at_once, number)::BIGINT"
        " FROM changes GROUP BY place ORDER BY place"
    )
    return list(_fill(_place(first, width), _place(last, width), width, sums, levels))


def _place(moment: datetime, width: int) -> int:
    return int((moment - _EPOCH).total_seconds() // width)


def _fill(begin: int, end: int, width: int, sums: Rows, levels: Rows) -> Iterator[Bar]:
    """Give a bar for each place, also where nothing happened: sessions live on meanwhile."""
    by_place = {row[0]: row[1:] for row in sums}
    changes = {row[0]: row[1:] for row in levels}
    level = next((row[2] for row in reversed(levels) if row[0] < begin), 0)
    for place in range(begin, end + 1):
        most, after = changes.get(place, (0, level))
        start = _EPOCH + timedelta(seconds=place * width)
        accepted, received, sent = by_place.get(place, (0, 0, 0))
        yield Bar(start, accepted, max(most, level), received, sent)
        level = after
