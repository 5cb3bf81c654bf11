"""Logs are hostile input: whatever stands in them is counted, and nothing stops the reading."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo.events import EVENTS
from echo.limits import LOG_LINE_BYTES
from echo.logs.database import CHUNK_BYTES, LogDatabase
from echo.logs.figures import lines as count_lines
from echo.logs.files import LogFile, log_files, log_of, open_all
from echo.logs.follower import Follower
from echo.logs.reader import KINDS, LINE_BYTES, SanitizedLines
from echo.logs.tables import NEEDED
from tests.waiting import seconds

if TYPE_CHECKING:
    from pathlib import Path

# Work for the processor: where many tests run at once, it takes a multiple of its time.
pytestmark = pytest.mark.timeout(seconds(300))
EVENT = (
    b'{"timestamp":"2026-01-31T10:00:00.000001Z","level":"info","event":"log.reopened","path":"x"}'
)
MOST_MEMORY = 500 * 1024  # KiB
# Runs a command, and prints on stderr how many KiB it has taken at most. The system counts in what
# its parent has taken, and the process of these tests may have taken more.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def counted(*data: bytes) -> dict[str, Any]:
    """Count the lines of files that hold this."""
    with LogDatabase(
        [LogFile(str(n), "log", io.BytesIO(part)) for n, part in enumerate(data)]
    ) as it:
        return count_lines(it)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (EVENT, "events"),
        (EVENT + b"\r", "events"),
        (b" " + EVENT, "events"),
        (EVENT[:50], "torn"),
        (EVENT[50:], "torn"),
        (EVENT + EVENT, "torn"),
        (EVENT[:-1] + b',"x":"\xff"}', "torn"),
        (EVENT[:-1] + b"," + b" " * LINE_BYTES + b'"x":1}', "torn"),
        (b"\xff\xfe", "not_utf8"),
        (b'"\xed\xa0\x80"', "not_utf8"),
        (b"x" * (LINE_BYTES + 1), "huge"),
        (b"x" * LINE_BYTES, "foreign"),
        (b"[" * LINE_BYTES, "foreign"),
        (b'{"a":' * 10_000, "foreign"),
        (b"", "foreign"),
        (b"\r", "foreign"),
        (b"null", "foreign"),
        (b"5", "foreign"),
        (b"[]", "foreign"),
        (b'{"msg":"another program"}', "foreign"),
        (b'{"event":null}', "foreign"),
        (b'{"event":"x","timestamp":"infinity!"}', "foreign"),
        (b"\x01huge", "foreign"),
        (b"a\x02b\x02c", "foreign"),
        (b"\x00", "foreign"),
        (b'Traceback (most recent call last): "x"', "foreign"),
        (b'{"event":"new.thing","timestamp":"2026-01-31T10:00:00+02:00"}', "events"),
        (b'{"event":{"a":1},"timestamp":"2026-01-31"}', "events"),
    ],
)
def test_a_line_is_what_it_is(line: bytes, kind: str) -> None:
    """Between two events, each line counts once, as what it is, and takes nothing along."""
    found = counted(EVENT + b"\n" + line + b"\n" + EVENT + b"\n")
    counts = {name: found[name] for name in ("events", *KINDS) if found[name]}

    assert counts == ({"events": 3} if kind == "events" else {"events": 2, kind: 1})


@given(data=st.lists(st.one_of(st.binary(), st.just(EVENT), st.just(b"\n"))).map(b"".join))
def test_no_bytes_stop_the_reading(data: bytes) -> None:
    """Each line of any bytes is counted once."""
    found = counted(data, EVENT)
    lines = data.count(b"\n") + bool(data.rpartition(b"\n")[2]) + 1

    assert sum(found[name] for name in ("events", *KINDS)) == lines


@given(pieces=st.lists(st.sampled_from([b"a", b"\n", b"\xff", b"x" * 70_000, EVENT]), max_size=8))
def test_a_line_keeps_its_number_wherever_a_block_ends(pieces: list[bytes]) -> None:
    """However reads cut the lines, one goes out for each that came in."""

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 40_000))

    data = b"".join(pieces)
    lines = SanitizedLines([LogFile("x", "x", Dribble(data))])
    out = b"".join(lines.blocks())

    assert lines.rows == out.count(b"\n")
    assert lines.rows == data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    assert max(map(len, out.split(b"\n"))) <= LINE_BYTES


def test_lines_are_in_their_order_in_the_table() -> None:
    """In a log that is read in several pieces each row has its own line's number."""
    data = b"".join(EVENT[:-4] + b'"%d"}\n' % number for number in range(400_000))
    with LogDatabase([LogFile("a", "a", io.BytesIO(data))], None, (*NEEDED, "path")) as database:
        found = database.row("SELECT count(*) FILTER (path::INT = rowid), count(*) FROM lines")

    assert len(data) > CHUNK_BYTES
    assert found == (400_000, 400_000)


def test_unknown_events_and_fields_are_counted() -> None:
    """A newer version's events and fields are there, and are named."""
    new = b'{"timestamp":"2026-01-31T10:00:00Z","level":"info","event":"new.thing","mood":1}\n'
    found = counted(new * 3 + EVENT[:-1] + b',"mood":2,"size":null}\n')

    assert found["unknown_events"] == {"new.thing": 3}
    assert found["unknown_fields"] == {"mood": 4, "size": 1}


def test_every_event_of_the_vocabulary_is_known() -> None:
    """No event that the daemon writes is foreign, and none of its fields unknown."""
    lines = [
        json.dumps({"timestamp": "2026-01-31T10:00:00Z", "level": event.level, "event": name})[:-1]
        + "".join(f', "{field}": 1' for field in (*event.fields, *event.optional))
        + "}\n"
        for name, event in EVENTS.items()
    ]
    found = counted("".join(lines).encode())

    assert found["events"] == len(EVENTS)
    assert found["unknown_events"] == found["unknown_fields"] == {}


@pytest.mark.parametrize(
    "values",
    [
        {"received_bytes": 2**63, "sent_bytes": -(2**70), "duration_s": 1e308},
        {"received_bytes": [], "sent_bytes": {}, "duration_s": "x"},
        {"received_bytes": 2**63 - 1, "sent_bytes": 1.5, "duration_s": -1e308},
        {"peer_ip": "x" * 5000, "session_id": "é\u202e", "reason": ""},
    ],
)
def test_no_value_stops_the_reading(values: dict[str, Any]) -> None:
    """Huge numbers, and values of a wrong type, are no error."""
    fields = dict.fromkeys(EVENTS["session.closed"].fields, 1) | values
    head = {"timestamp": "2026-01-31T10:00:00Z", "level": "info", "event": "session.closed"}
    line = json.dumps(head | fields).encode() + b"\n"
    with LogDatabase([LogFile("a", "a", io.BytesIO(line * 3))]) as database:
        (count,) = database.row("SELECT count(*) FROM sessions WHERE began IS NULL OR true")

    assert count == 1


@pytest.mark.parametrize("stamp", ["infinity", "epoch", "0001-01-01", "99999-01-01", "x", ""])
def test_no_time_stops_the_reading(stamp: str) -> None:
    """A strange time is a time or none."""
    found = counted(EVENT.replace(b"2026-01-31T10:00:00.000001Z", stamp.encode()) + b"\n")

    assert found["events"] == 1


def test_a_damaged_gz_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A torn .gz is read as far as it goes, and says what is wrong; a name packs nothing."""
    whole = gzip.compress(b"".join(EVENT + b"%d\n" % n for n in range(100_000)))
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.gz").write_bytes(EVENT)
    with LogDatabase(open_all([str(tmp_path / "a.gz"), str(tmp_path / "b.gz")])) as database:
        rows = database.lines.rows
        problems = [file.problem for file in database.files]

    assert 1000 < rows < 100_000
    assert "end-of-stream" in problems[0]
    assert problems[1] == ""


@pytest.mark.long
def test_memory_is_bounded_by_no_line_and_no_file(tmp_path: Path) -> None:
    """A line of 400 MB and a million short ones are read within the memory of the promise."""
    path = tmp_path / "echo.jsonl"
    with path.open("wb") as file:
        file.seek(400_000_000)
        file.write(b"\n" + b"x\n" * 1_000_000)
    command = [sys.executable, "-m", "echo", "logs", "summary", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, check=True
    )
    found = json.loads(done.stdout)

    assert (found["lines"]["huge"], found["lines"]["foreign"]) == (1, 1_000_000)
    assert int(done.stderr) < MOST_MEMORY


def test_a_file_that_is_rotated_meanwhile_is_read_once(tmp_path: Path) -> None:
    """A rotation between two openings makes no file be read twice."""
    log, older = tmp_path / "echo.jsonl", tmp_path / "echo.jsonl.1"
    log.write_bytes(EVENT + b"\n")
    os.link(log, older)
    files = open_all([str(log), str(older)])

    assert [file.name for file in files] == [str(log)]
    for file in files:
        file.close()


def test_the_default_log_has_its_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without names: logs/echo.jsonl and its rotated files, and no other file there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    for name in ("echo.jsonl", "echo.jsonl.1", "echo.jsonl.10.gz", "echo.jsonl.bak", "README.md"):
        (tmp_path / "logs" / name).touch()

    assert sorted(log_files([])) == [
        *("logs/echo.jsonl", "logs/echo.jsonl.1", "logs/echo.jsonl.10.gz"),
    ]
    assert log_files(["b", "a", "b"]) == ["b", "a"]
    assert log_of("") == ""


def test_readers_say_what_they_read(tmp_path: Path) -> None:
    """The repr of each shows where it is."""
    path = tmp_path / "a"
    path.write_bytes(EVENT)
    with LogDatabase(open_all([str(path)])) as database:
        follower = Follower(path)
        shown = f"{database} {database.lines} {follower}"
        follower.close()

    assert shown == f"<LogDatabase of 1 files> <SanitizedLines 1 rows of 1 files> <Follower {path}>"


def test_lines_of_the_daemon_are_never_too_long() -> None:
    """The longest line that the daemon writes is shorter than the longest that is read."""
    assert LOG_LINE_BYTES < LINE_BYTES
