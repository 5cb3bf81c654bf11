"""One filter, two ways to apply it: as lines pass by, and in the tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from echo.cli.logs.options import opened
from echo.logs.database import LogDatabase
from echo.logs.files import open_all
from echo.logs.filters import Filter, Matcher
from echo.logs.small_sessions import small_sessions
from echo.logs.times import BadTime, parse_time

if TYPE_CHECKING:
    from pathlib import Path

    Events = list[dict[str, Any]]

NOW = datetime(2026, 3, 31, 10, 0, tzinfo=UTC)

# Those whose meaning is the same for a line and for its session.
FILTERS = [
    Filter(),
    Filter(events=("session.closed", "server.stopped")),
    Filter(sessions=("2265b1f5-7",)),
    Filter(since=datetime(2026, 1, 6, tzinfo=UTC)),
    Filter(until=datetime(2026, 1, 6, tzinfo=UTC)),
    Filter(level="warning"),
    Filter(peers=(ip_network("10.0.0.1"), ip_network("10.0.1.0/24"))),
    Filter(peers=(ip_network("10.0.0.0/8"),), events=("session.closed",), reasons=("eof",)),
    Filter(peers=(ip_network("::/0"),)),
    Filter(events=("it's",)),
    Filter(min_bytes=2_000),
    Filter(min_bytes=10**30, reasons=("max_sessions", "reset")),
]


@pytest.mark.parametrize("wanted", FILTERS)
def test_both_ways_let_the_same_lines_through(wanted: Filter, log: Path, events: Events) -> None:
    """Line by line and in SQL, a filter means the same."""
    with opened("show", [log]) as files:
        matcher = Matcher(wanted, small_sessions(files, wanted))
    with LogDatabase(open_all([str(log)]), wanted) as database:
        rows = [row for (row,) in database.rows("SELECT row FROM chosen ORDER BY row")]

    assert rows == [n for n, event in enumerate(events) if matcher.matches(event)]


NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "wanted",
    [
        *(Filter(level="warning"), Filter(since=NOON), Filter(until=NOON)),
        *(Filter(reasons=("x",)), Filter(min_bytes=1)),
    ],
)
def test_both_ways_agree_about_odd_events(wanted: Filter, tmp_path: Path) -> None:
    """Other zones, no time, no level, one that nobody knows: a line or a row, it is the same."""
    stamps = ["2026-01-05T11:59:59Z", "2026-01-05T13:59:59+02:00", "2026-01-05T11:30:00-01:00"]
    events: Events = [
        *({"timestamp": stamp, "level": "info", "event": "x"} for stamp in stamps),
        {"timestamp": "2026-01-05 12:00", "level": "warning", "event": "x"},
        {"level": "error", "event": "log.dropped"},
        {"timestamp": "yesterday", "level": "error", "event": "log.dropped"},
        {"timestamp": 5, "level": "error", "event": "log.dropped"},
        {"timestamp": stamps[0], "event": "x"},
        {"timestamp": stamps[0], "event": "x", "level": "fatal"},
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + "foreign\n")
    matcher = Matcher(wanted)
    with LogDatabase(open_all([str(path)]), wanted) as database:
        rows = [row for (row,) in database.rows("SELECT row FROM chosen ORDER BY row")]

    assert rows == [n for n, event in enumerate([*events, None]) if matcher.matches(event)]
    assert bool(rows) == (not wanted.reasons)


def test_data_of_a_session_belongs_to_its_peer() -> None:
    """A line that names only the session is let through with the session's peer."""
    matcher = Matcher(Filter(peers=(ip_network("10.0.0.1"),)))
    opened = {"event": "session.accepted", "session_id": "a-1", "peer_ip": "10.0.0.1"}
    data = {"event": "session.data", "session_id": "a-1"}
    closed = {"event": "session.closed", "session_id": "a-1", "peer_ip": "10.0.0.1"}

    assert not matcher.matches(data)
    assert [matcher.matches(line) for line in (opened, data, closed, data)] == [True] * 3 + [False]
    assert not matcher.matches({"event": "x", "peer_ip": ["no address"]})


def test_what_is_no_event_passes_only_without_a_filter() -> None:
    """A foreign line has no peer, no time and no level."""
    assert Matcher(Filter()).matches(None)
    assert not Matcher(Filter(level="error")).matches(None)


def test_an_unknown_level_is_never_left_out() -> None:
    """A newer version may know a graver one."""
    assert Matcher(Filter(level="error")).matches({"event": "x", "level": "critical"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-31T15:00:00Z", "2026-01-31T15:00"),
        ("2026-01-31 15:00", "2026-01-31T15:00"),
        ("2026-01-31", "2026-01-31T00:00"),
        ("2026-01-31T15:00-01:00", "2026-01-31T16:00"),
        ("2026-01-31t15:00:05.5 utc", "2026-01-31T15:00:05.5"),
        ("2026-01-31T15", "2026-01-31T15:00"),
        ("20260131", "2026-01-31T00:00"),
        ("now", "2026-03-31T10:00"),
        ("Today", "2026-03-31T00:00"),
        ("yesterday", "2026-03-30T00:00"),
        ("yesterday 9:30", "2026-03-30T09:30"),
        ("@1738200000", "2025-01-30T01:20"),
        ("09:30", "2026-03-31T09:30"),
        ("9:30", "2026-03-31T09:30"),
        ("9:30+02:00", "2026-03-31T07:30"),
        ("15:00", "2026-03-30T15:00"),
        ("10 min ago", "2026-03-31T09:50"),
        ("10 min AGO", "2026-03-31T09:50"),
        ("2h", "2026-03-31T08:00"),
        ("1h30m", "2026-03-31T08:30"),
        ("1.5 hours", "2026-03-31T08:30"),
        ("10min", "2026-03-31T09:50"),
        ("-10 min", "2026-03-31T09:50"),
        ("1 hour 30 minutes ago", "2026-03-31T08:30"),
        ("2 days ago", "2026-03-29T10:00"),
        ("1 month ago", "2026-02-28T10:00"),
    ],
)
def test_times_are_read_as_people_write_them(text: str, found: str) -> None:
    """ISO times, times of day, and how long ago, all in UTC."""
    assert parse_time(text, NOW) == datetime.fromisoformat(found).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2026-03-31T09:55", "10:05", "2026-03-31T10:05"),
        ("2026-03-30T23:00", "01:00", "2026-03-31T01:00"),
        ("2026-03-30T23:00", "23:00", "2026-03-31T23:00"),
        ("2026-01-05T15:00", "15:10", "2026-01-05T15:10"),
    ],
)
def test_a_time_of_day_ends_what_since_begins(since: str, until: str, found: str) -> None:
    """`--since 15:00 --until 15:10` is ten minutes, also at five past, and over midnight."""
    begin = datetime.fromisoformat(since).replace(tzinfo=UTC)

    assert parse_time(until, NOW, begin) == datetime.fromisoformat(found).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "ago",
            "soon",
            "2026",
            "2026-01",
            "2026-13-01",
            "2026-W05-1",
            "9",
            "9:5",
            "24:00",
            "2026-01-31T24:00",
            "yesterday 24:00Z",
        ),
        *("12:60", "5", "1 fortnight", "1.5 months", "99999999 years ago", "@1e9", "@" + "9" * 20),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Anything else is an error with the text in it."""
    with pytest.raises(BadTime):
        parse_time(text, NOW)


def test_a_zone_is_that_of_times_that_name_none() -> None:
    """Times, times of day and days by name are in it; what names its own zone is not."""
    zone = ZoneInfo("Europe/Berlin")
    found = [
        parse_time(text, NOW, None, zone).isoformat()
        for text in ("2026-03-31T09:30", "9:30", "today", "9:30Z", "1 month ago")
    ]

    assert found == [
        *("2026-03-31T07:30:00+00:00", "2026-03-31T07:30:00+00:00", "2026-03-30T22:00:00+00:00"),
        *("2026-03-31T09:30:00+00:00", "2026-02-28T11:00:00+00:00"),
    ]
