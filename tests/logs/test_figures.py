"""The figures of a log, against a count that knows nothing of how they are worked out."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from echo.logs.database import LogDatabase
from echo.logs.figures import MOST_BARS, bar_width, summarize
from echo.logs.files import open_all
from echo.logs.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Events = list[dict[str, Any]]


def figures(*paths: Path, wanted: Filter | None = None) -> dict[str, Any]:
    """Sum up files, and give all of it as JSON would carry it."""
    with LogDatabase(open_all([str(path) for path in paths]), wanted) as database:
        found: dict[str, Any] = json.loads(json.dumps(summarize(database).as_dict()))
        return found


def named(events: Events, name: str) -> Events:
    """Return the events of one name."""
    return [event for event in events if event["event"] == name]


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return a percentile as the textbook has it."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def most_at_once(events: Events, since: str = "", until: str = "9") -> int:
    """Count sessions up and down; a new daemon begins with none."""
    live, before, most = 0, 0, 0
    for event in events:
        live += (event["event"] == "session.accepted") - (event["event"] == "session.closed")
        live = 0 if event["event"] == "server.started" else live
        if event["timestamp"] < since:
            before = live
        elif event["timestamp"] < until:
            most = max(most, live)
    return max(most, before)


def test_all_figures_are_those_of_an_independent_count(log: Path, events: Events) -> None:
    """Sessions, bytes, reasons, refusals, percentiles, the most at once: each is right."""
    found = figures(log)
    accepted, closed = named(events, "session.accepted"), named(events, "session.closed")
    refused = sum(event["count"] for event in named(events, "session.refused"))
    received = [event["received_bytes"] for event in closed]
    durations = [event["duration_s"] for event in closed]

    assert (found["first"], found["last"]) == (events[0]["timestamp"], events[-1]["timestamp"])
    assert (found["accepted"], found["closed"]) == (len(accepted), len(closed))
    assert found["crashed"] == len(accepted) - len(closed) > 0
    assert (found["open"], found["lost"], found["starts"]) == (0, 0, 5)
    assert found["refused"] == refused == found["refusals"]["max_sessions"]
    assert found["received_bytes"] == sum(received)
    assert found["sent_bytes"] == sum(event["sent_bytes"] for event in closed)
    assert found["reasons"] == Counter(event["reason"] for event in closed)
    assert found["at_once"] == most_at_once(events)
    assert found["lines"]["events"] == len(events)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        assert found["duration_s"][name] == nearest_rank(durations, share)
        assert found["size_bytes"][name] == nearest_rank(received, share)


def test_peers_are_counted_busiest_first(log: Path, events: Events) -> None:
    """Each peer has its sessions and bytes, the one with the most sessions first."""
    sessions = Counter(event["peer_ip"] for event in named(events, "session.accepted"))
    received: Counter[str] = Counter()
    for event in named(events, "session.closed"):
        received[event["peer_ip"]] += event["received_bytes"]
    expected = sorted(sessions, key=lambda peer: (-sessions[peer], -received[peer], peer))[:10]
    found = figures(log)

    assert found["peer_count"] == len(sessions)
    assert found["peers"] == [
        {"peer_ip": peer, "sessions": sessions[peer], "received_bytes": received[peer]}
        for peer in expected
    ]


def test_bars_hold_what_happened_in_their_time(log: Path, events: Events) -> None:
    """The charts show the same figures, cut at round times, without a gap between them."""
    found = figures(log)
    bars, width = found["bars"], found["bar_seconds"]
    starts = [datetime.fromisoformat(bar["start"]).timestamp() for bar in bars]
    accepted: dict[float, int] = defaultdict(int)
    for event in named(events, "session.accepted"):
        accepted[datetime.fromisoformat(event["timestamp"]).timestamp() // width * width] += 1

    assert starts == [starts[0] + width * place for place in range(len(bars))]
    assert len(bars) <= MOST_BARS + 2
    assert [bar["accepted"] for bar in bars] == [accepted[start] for start in starts]
    assert max(bar["at_once"] for bar in bars) == found["at_once"]
    assert sum(bar["received_bytes"] for bar in bars) == found["received_bytes"]


def test_a_bar_without_events_still_has_its_sessions(tmp_path: Path) -> None:
    """A session that lives through quiet hours is there in each of them."""
    path = tmp_path / "echo.jsonl"
    head = '"level":"info","session_id":"a-1","peer_ip":"10.0.0.1","peer_port":1'
    path.write_text(
        f'{{"timestamp":"2026-01-01T00:00:00.5Z","event":"session.accepted",{head},"fd":1}}\n'
        f'{{"timestamp":"2026-01-01T01:00:00Z","event":"session.closed",{head},"reason":"eof",'
        '"received_bytes":1,"sent_bytes":1,"duration_s":3599.5}\n'
    )
    bars = figures(path)["bars"]

    assert [bar["at_once"] for bar in bars] == [1] * len(bars)
    assert len(bars) > 30


def test_a_window_counts_sessions_that_span_it(log: Path, events: Events) -> None:
    """With --since and --until, sessions open meanwhile count among those at once."""
    since, until = datetime(2026, 1, 6, 12, tzinfo=UTC), datetime(2026, 1, 6, 15, tzinfo=UTC)
    found = figures(log, wanted=Filter(since=since, until=until))
    inside = [e for e in events if since.isoformat() <= e["timestamp"] < until.isoformat()]

    assert found["accepted"] == len(named(inside, "session.accepted"))
    assert found["closed"] == len(named(inside, "session.closed"))
    assert found["at_once"] == most_at_once(events, since.isoformat(), until.isoformat())
    assert found["bars"][0]["at_once"] > 0


def test_the_figures_are_those_of_whole_sessions(log: Path, events: Events) -> None:
    """With --reason, a session's first line counts though it can't name the reason."""
    found = figures(log, wanted=Filter(reasons=("reset",)))
    ended = [e for e in named(events, "session.closed") if e["reason"] == "reset"]

    assert found["accepted"] == found["closed"] == len(ended) > 0
    assert found["reasons"] == {"reset": len(ended)}


def test_rotated_and_compressed_files_are_one_log(log: Path, made: list[str]) -> None:
    """The pieces of a log, in whatever order they are named, have the figures of the whole."""
    whole = figures(log)
    log.write_text("".join(made[4000:]))
    log.with_name("echo.jsonl.1").write_text("".join(made[2000:4000]))
    with gzip.open(log.with_name("echo.jsonl.2.gz"), "wt") as oldest:
        oldest.write("".join(made[:2000]))
    pieces = figures(log, *log.parent.glob("echo.jsonl.*"))

    assert {**pieces, "files": 0} == {**whole, "files": 0}


def test_two_daemons_that_share_a_port_are_read_together(tmp_path: Path) -> None:
    """The most sessions at once of two daemons are those of both."""
    line = (
        '{{"timestamp":"2026-01-01T00:00:0{0}.000000Z","level":"info","event":"session.{1}",'
        '"session_id":"{2}","peer_ip":"10.0.0.1","peer_port":1,"fd":1,"active_sessions":1,'
        '"reason":"eof","received_bytes":1,"sent_bytes":1,"duration_s":1}}\n'
    )
    for name, begin in (("a", 1), ("b", 2)):
        lines = line.format(begin, "accepted", f"{name}-1"), line.format(5, "closed", f"{name}-1")
        (tmp_path / name).write_text("".join(lines))

    assert figures(tmp_path / "a")["at_once"] == 1
    assert figures(tmp_path / "a", tmp_path / "b")["at_once"] == 2


def test_an_empty_log_has_figures(tmp_path: Path) -> None:
    """Nothing happened: all counts are 0, and what needs a value has none."""
    path = tmp_path / "echo.jsonl"
    path.touch()
    found = figures(path)

    assert (found["accepted"], found["at_once"], found["bars"]) == (0, 0, [])
    assert found["first"] is found["duration_s"]["p50"] is None


def test_figures_of_a_forged_log_are_sums_all_the_same(tmp_path: Path) -> None:
    """Sums of more than 64 bits are written as they are."""
    most = 2**63 - 1
    head = {"timestamp": "2026-01-01T00:00:00Z", "level": "warning", "peer_ip": "x", "peer_port": 1}
    ends = {"session_id": "a-1", "received_bytes": most, "sent_bytes": most, "duration_s": 1e308}
    lines = [
        {**head, "event": "session.refused", "reason": "thread_limit", "count": most},
        {**head, "event": "session.closed", "reason": "eof", **ends},
    ]
    path = tmp_path / "echo.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) * 2)
    found = figures(path)

    assert found["refused"] == found["refusals"]["thread_limit"] == 2 * most
    assert found["received_bytes"] == found["bars"][0]["sent_bytes"] == 2 * most


@pytest.mark.parametrize("last", ["2026-01-01T00:00:01", "2026-02-01", "2500-01-01", "9999-01-01"])
def test_a_chart_has_few_bars_whatever_the_period(last: str) -> None:
    """A round width is found for seconds and for months; a strange time makes no long chart."""
    first = datetime(2026, 1, 1)
    span = (datetime.fromisoformat(last) - first).total_seconds()

    assert span / bar_width(first, datetime.fromisoformat(last)) <= MOST_BARS + 1
