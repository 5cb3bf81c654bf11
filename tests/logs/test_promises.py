"""The audit finds each damage by file and line, and takes nothing sound for one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from echo.logs.database import LogDatabase
from echo.logs.files import open_all
from echo.logs.filters import Filter
from echo.logs.promises import MOST_OF_A_KIND, Audit, audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Lines = list[str]


def audited(*paths: Path, wanted: Filter | None = None) -> Audit:
    """Audit files."""
    with LogDatabase(open_all([str(path) for path in paths]), wanted) as database:
        return audit(database)


def changed(line: str, **fields: Any) -> str:
    """Return a line with other values in some fields."""
    return json.dumps({**json.loads(line), **fields}, separators=(",", ":")) + "\n"


def find(lines: Lines, *parts: str, start: int = 0) -> int:
    """Return the place of the first line that holds all parts."""
    return next(n for n in range(start, len(lines)) if all(part in lines[n] for part in parts))


def test_a_sound_log_passes(log: Path) -> None:
    """Runs with their totals, and a crash: no breach, and the sessions it cut are named so."""
    found = audited(log)

    assert found.passed
    assert found.breaches == []
    assert (found.runs, found.runs_compared) == (5, 4)
    assert set(found.remark_counts) == {"cut by a crash"}


# Each takes the lines and damages them: it gives what is to be found, and in which line.


def no_closing(lines: Lines) -> tuple[str, int]:
    """Lose a closing line."""
    del lines[find(lines, "session.closed", "eof")]
    return "total closed differs", find(lines, "server.stopped")


def no_closing_named(lines: Lines) -> tuple[str, int]:
    """Lose a closing line: the session is named, too."""
    place = find(lines, "session.closed", "eof")
    session = json.loads(lines.pop(place))["session_id"]
    return "never closed", find(lines, "session.accepted", f'"{session}"')


def no_opening(lines: Lines) -> tuple[str, int]:
    """Lose an opening line."""
    place = find(lines, "session.accepted")
    session = json.loads(lines.pop(place))["session_id"]
    return "never accepted", find(lines, "session.closed", f'"{session}"')


def closed_twice(lines: Lines) -> tuple[str, int]:
    """Repeat a closing line."""
    place = find(lines, "session.closed")
    lines.insert(place, lines[place])
    return "closed twice", place


def accepted_twice(lines: Lines) -> tuple[str, int]:
    """Repeat an opening line."""
    place = find(lines, "session.accepted")
    lines.insert(place, lines[place])
    return "accepted twice", place


def closed_first(lines: Lines) -> tuple[str, int]:
    """Swap a session's two lines."""
    last = find(lines, "session.closed")
    first = find(lines, f'"{json.loads(lines[last])["session_id"]}"')
    stamps = [json.loads(lines[place])["timestamp"] for place in (first, last)]
    swapped = changed(lines[last], timestamp=stamps[0]), changed(lines[first], timestamp=stamps[1])
    lines[first], lines[last] = swapped
    return "closed before accepted", first


def bytes_lost(lines: Lines) -> tuple[str, int]:
    """Let a clean end lack a byte."""
    place = find(lines, "session.closed", '"reason":"eof"')
    sent = json.loads(lines[place])["sent_bytes"]
    lines[place] = changed(lines[place], sent_bytes=sent - 1)
    return "bytes differ", place


def bytes_invented(lines: Lines) -> tuple[str, int]:
    """Let another end have sent more than it received."""
    place = find(lines, "session.closed", '"reason":"reset"')
    received = json.loads(lines[place])["received_bytes"]
    lines[place] = changed(lines[place], sent_bytes=received + 1)
    return "more sent than received", place


def total(name: str) -> Callable[[Lines], tuple[str, int]]:
    """Change a total of a stop."""

    def damage(lines: Lines) -> tuple[str, int]:
        place = find(lines, "server.stopped")
        lines[place] = changed(lines[place], **{name: json.loads(lines[place])[name] + 1})
        return f"total {name} differs", place

    damage.__name__ = f"total_{name}"
    return damage


def torn_in_the_middle(lines: Lines) -> tuple[str, int]:
    """Tear a line, as a crash does that another daemon writes after."""
    place = find(lines, "session.refused")
    lines[place] = lines[place][:60] + lines[place]
    return "torn line", place


def torn_head(lines: Lines) -> tuple[str, int]:
    """Leave the end of a line."""
    lines.insert(100, lines[100][50:])
    return "torn line", 100


def torn_beginning(lines: Lines) -> tuple[str, int]:
    """Leave a few letters of a line."""
    lines.insert(100, '{"tim\n')
    return "torn line", 100


def damaged_letter(lines: Lines) -> tuple[str, int]:
    """Let a line of the daemon hold what is no UTF-8."""
    lines[100] = lines[100].replace('"level"', '"lev\udcffel"')
    return "torn line", 100


def time_backwards(lines: Lines) -> tuple[str, int]:
    """Set the clock back for one line."""
    lines[100] = changed(lines[100], timestamp="2026-01-01T00:00:00.000000Z")
    return "time runs backwards", 100


def field_missing(lines: Lines) -> tuple[str, int]:
    """Take a field from an event."""
    place = find(lines, "session.accepted")
    fields = json.loads(lines[place])
    del fields["fd"]
    lines[place] = json.dumps(fields) + "\n"
    return "incomplete event", place


def field_of_a_wrong_type(lines: Lines) -> tuple[str, int]:
    """Put a value of a wrong type into a field."""
    place = find(lines, "session.closed", "eof")
    lines[place] = changed(lines[place], received_bytes="many")
    return "incomplete event", place


def no_time(lines: Lines) -> tuple[str, int]:
    """Put a text that is no time into an event."""
    place = find(lines, "session.accepted")
    lines[place] = changed(lines[place], timestamp="yesterday")
    return "incomplete event", place


DAMAGES = [
    *(no_closing, no_closing_named, no_opening, closed_twice, accepted_twice, closed_first),
    *(bytes_lost, bytes_invented, torn_in_the_middle, torn_head, torn_beginning),
    *(damaged_letter, time_backwards, field_missing, field_of_a_wrong_type, no_time),
    *map(total, ("accepted", "closed", "refused", "received_bytes", "sent_bytes")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_by_file_and_line(
    damage: Callable[[Lines], tuple[str, int]], made: Lines, tmp_path: Path
) -> None:
    """Each kind of damage, planted once, is a breach in the right line of the right file."""
    lines = list(made)
    kind, place = damage(lines)
    older, log = tmp_path / "echo.jsonl.1", tmp_path / "echo.jsonl"
    older.write_text("".join(lines[:50]))
    log.write_bytes("".join(lines[50:]).encode("utf-8", "surrogateescape"))
    found = audited(log, older)
    at = (str(older), place + 1) if place < 50 else (str(log), place - 49)

    assert not found.passed
    assert at in [(f.file, f.line) for f in found.breaches if f.kind == kind]
    assert found.breach_counts[kind] == 1


FOREIGN = [
    ("foreign line", b"Traceback (most recent call last):"),
    ("foreign line", b'{"message":"another program"}'),
    ("foreign line", b"[1, 2]"),
    ("foreign line", b""),
    ("foreign line", b"a\x00b\x01c\x02d\re"),
    ("huge line", b"x" * 100_000),
    ("not_utf8 line", b"caf\xe9"),
    ("unknown event", b'{"timestamp":"2026-01-05T00:00:00Z","level":"info","event":"new.thing"}'),
]


@pytest.mark.parametrize(("kind", "line"), FOREIGN)
def test_what_is_not_the_daemons_is_named_and_no_breach(
    kind: str, line: bytes, made: Lines, tmp_path: Path
) -> None:
    """Foreign lines are named by file and line, and change nothing else."""
    log = tmp_path / "echo.jsonl"
    log.write_bytes(made[0].encode() + line + b"\n" + "".join(made[1:]).encode())
    found = audited(log)

    assert found.passed
    assert [(f.file, f.line) for f in found.remarks if f.kind == kind] == [(str(log), 2)]


def test_an_unknown_reason_and_unknown_fields_are_no_breach(made: Lines, tmp_path: Path) -> None:
    """A newer version may have more reasons and fields."""
    lines = list(made)
    place = find(lines, '"reason":"reset"')
    lines[place] = changed(lines[place], reason="bored", mood="fine")
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(lines))
    found = audited(log)

    assert found.passed
    assert found.remark_counts["unknown reason"] == 1


def running(lines: Lines) -> Lines:
    """Let the last daemon of a log be this process, which runs."""
    lines = list(lines)
    start = max(n for n, line in enumerate(lines) if "server.started" in line)
    lines[start] = changed(lines[start], pid=os.getpid())
    stop = find(lines, "server.stopped", start=start)
    return lines[: stop - 5]


def test_a_daemon_that_runs_has_open_sessions_and_a_last_line(made: Lines, tmp_path: Path) -> None:
    """Sessions of a live daemon are open, the line it is writing is not torn."""
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(running(made)) + made[-1][:40])
    found = audited(log)

    assert found.passed
    assert found.remark_counts["still open"] >= 5
    assert found.remark_counts["unfinished line"] == 1


def test_a_daemon_that_is_gone_has_crashed(made: Lines, tmp_path: Path) -> None:
    """Where the log's process is no more, what it left open was cut by a crash."""
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(running(made)).replace(f'"pid":{os.getpid()}', '"pid":99999999999999'))
    found = audited(log)

    assert found.passed
    assert set(found.remark_counts) == {"cut by a crash"}


def test_another_users_daemon_runs(
    made: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may not be signalled is there."""

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", forbidden)
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(running(made)))

    assert "still open" in audited(log).remark_counts


def test_a_log_that_begins_late_is_explained(made: Lines, tmp_path: Path) -> None:
    """Where older files are gone, what began in them is not held against the log."""
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(made[300:]))
    found = audited(log)

    assert found.passed
    assert found.remark_counts["before the log begins"] > 0
    assert found.remark_counts["totals not compared"] == 1


def dropping(lines: Lines, count: int) -> Lines:
    """Lose one closing line, and let the log say that it lost `count`."""
    lines = list(lines)
    place = find(lines, "session.closed", "eof")
    stamp = json.loads(lines[place])["timestamp"]
    fields = {"timestamp": stamp, "level": "warning", "event": "log.dropped", "count": count}
    lines[place] = json.dumps(fields) + "\n"
    return lines


def test_lines_that_the_log_dropped_are_explained(made: Lines, tmp_path: Path) -> None:
    """What log.dropped tells of is missing for a reason: named, and no breach."""
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(dropping(made, 1)))
    found = audited(log)

    assert found.passed
    assert found.remark_counts["lost by the log"] == 1
    assert found.remark_counts["lines dropped"] == 1
    assert found.remark_counts["totals not compared"] == 1


def test_more_lines_missing_than_dropped_is_a_breach(made: Lines, tmp_path: Path) -> None:
    """log.dropped explains as many lines as it counts, and no more."""
    lines = dropping(made, 1)
    del lines[find(lines, "session.closed", "eof")]
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(lines))
    found = audited(log)

    assert found.breach_counts["never closed"] == 2
    assert found.breach_counts["total closed differs"] == 1


def test_the_logs_own_lines_may_be_a_moment_early(made: Lines, tmp_path: Path) -> None:
    """The writer stamps log.dropped by itself, a moment after the line that comes next."""
    late = '{"timestamp":"2026-01-30T00:00:00.000000Z","level":"warning",'
    own = [
        late + '"event":"log.dropped","count":0}\n',
        late.replace("warning", "info") + '"event":"log.reopened","path":"x"}\n',
        late.replace("warning", "error") + '"event":"server.error","error":"x","where":"log"}\n',
    ]
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(made[:100] + own + made[100:]))

    assert audited(log).passed


def test_daemons_that_share_a_log_have_clocks_of_their_own(made: Lines, tmp_path: Path) -> None:
    """A line that another daemon wrote a moment late is no breach; one of the same daemon is."""
    starts = [n for n, line in enumerate(made) if "server.started" in line]
    first, second = made[: starts[1]], made[starts[1] : starts[2]]
    stamp = json.loads(first[100])["timestamp"]
    late = [changed(line, timestamp=stamp) for line in second[:20]]
    log = tmp_path / "echo.jsonl"
    log.write_text("".join([*first[:102], *late, *first[102:104]]))
    shared = audited(log)
    log.write_text("".join([*first[:102], *late, *first[103:101:-1], *first[104:]]))
    backwards = audited(log)

    assert "time runs backwards" not in shared.breach_counts
    assert backwards.breach_counts["time runs backwards"] == 1
    assert [f.line for f in backwards.breaches if f.kind == "time runs backwards"] == [124]


def test_separate_logs_have_separate_clocks_and_runs(made: Lines, tmp_path: Path) -> None:
    """Where one log ends and another begins, time may jump, and a run ends."""
    starts = [n for n, line in enumerate(made) if "server.started" in line]
    (tmp_path / "b").write_text("".join(made[: starts[1]]))
    (tmp_path / "a").write_text("".join(made[starts[1] : starts[2]]))
    found = audited(tmp_path / "a", tmp_path / "b")

    assert found.passed
    assert (found.runs, found.runs_compared) == (2, 2)


def test_many_findings_are_counted_and_a_few_are_named(tmp_path: Path) -> None:
    """A log of nothing but noise makes no endless list."""
    log = tmp_path / "echo.jsonl"
    log.write_text("noise\n" * (MOST_OF_A_KIND + 50))
    found = audited(log)

    assert found.remark_counts == {"foreign line": MOST_OF_A_KIND + 50}
    assert len(found.remarks) == MOST_OF_A_KIND


def test_a_filter_chooses_what_is_reported(made: Lines, tmp_path: Path) -> None:
    """All of the log is checked; findings about the wanted lines are reported."""
    lines = list(made)
    bytes_lost(lines)
    place = find(lines, "session.closed", '"reason":"eof"')
    session = json.loads(lines[place])["session_id"]
    log = tmp_path / "echo.jsonl"
    log.write_text("".join(lines))

    assert set(audited(log, wanted=Filter(sessions=(session,))).breach_counts) == {"bytes differ"}
    assert audited(log, wanted=Filter(sessions=("nobody",))).breach_counts == {}
