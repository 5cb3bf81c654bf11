"""Sessions of few bytes are left out of what is read, whole, and nothing else is."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo.cli import main
from echo.cli.logs.options import opened
from echo.logs import small_sessions as module
from echo.logs.database import LogDatabase
from echo.logs.files import LogFile
from echo.logs.filters import Filter, Matcher
from echo.logs.pretty import parsed
from echo.logs.reader import Line, merged_by_time, read_lines
from echo.logs.small_sessions import HeldSessions, small_sessions
from tests.logs import shipping
from tests.logs.test_wild import lines_of, logs, written
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.process import DaemonProcess

    Captured = pytest.CaptureFixture[str]

# Work for the processor: where many tests run at once, it takes a multiple of its time.
pytestmark = pytest.mark.timeout(seconds(300))
ECHOD = [sys.executable, "-m", "echo", "logs"]


# -- a log of a real daemon ---------------------------------------------------------------


@pytest.fixture
def probed(daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """Return a daemon that a health check has connected to between sessions of 5 and 2,000 bytes.

    Its log has been rotated between the two lines of some of these connections.
    """
    process = daemon("--log-level", "debug", "--log-max-size", "1500", "--log-keep", "50")
    for count in (0, 5, 0, 0, 2000, 0):
        with process.client() as client:
            client.echo(b"x" * count)
    process.wait_for("session.closed", 6)
    return process


def files_of(process: DaemonProcess) -> list[str]:
    """Return the names of a log's files."""
    return [str(path) for path in process.log.parent.glob("echo.jsonl*")]


def ids(process: DaemonProcess, least: int) -> set[str]:
    """Return the sessions that received so much."""
    closed = process.events("session.closed")
    return {line["session_id"] for line in closed if line["received_bytes"] >= least}


def shown(text: str) -> set[str]:
    """Return the sessions of lines that are shown."""
    return {word.partition("=")[2] for word in text.split() if word.startswith("session_id=")}


@pytest.mark.parametrize("least", ["1", "5", "6", "1.5k"])
def test_show_leaves_out_small_sessions_whole(
    least: str, probed: DaemonProcess, capfd: Captured
) -> None:
    """All other lines are there, in their order, through rotations."""
    assert main(["logs", "show", *files_of(probed), "--min-bytes", least]) == 0
    text = capfd.readouterr().out
    large = ids(probed, {"1.5k": 1536}.get(least) or int(least))
    expected = [
        line["timestamp"]
        for line in probed.lines()
        if "session_id" not in line or line["session_id"] in large
    ]

    assert len(files_of(probed)) > 2
    assert 1 <= len(large) <= 2
    assert shown(text) == large
    assert [line.split()[0] for line in text.splitlines()] == expected


@pytest.mark.parametrize("wrap", [shipping.compose, shipping.docker_file, shipping.containerd])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_is_filtered_as_a_file_is(
    pack: Callable[[bytes], bytes], wrap: Callable[[str], str], probed: DaemonProcess
) -> None:
    """What a shipper brings on standard input, packed too, is shown and followed alike."""
    data = "".join(wrap(json.dumps(line, separators=(",", ":"))) + "\n" for line in probed.lines())
    for command in ("show", "follow"):
        done = subprocess.run(
            [*ECHOD, command, "-", "--min-bytes", "1"],
            input=pack(data.encode()),
            capture_output=True,
            timeout=seconds(60),
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, b"")
        assert shown(done.stdout.decode()) == ids(probed, 1)
        assert b"server.started" in done.stdout


def test_figures_tables_and_pages_are_without_small_sessions(
    probed: DaemonProcess, tmp_path: Path, capfd: Captured
) -> None:
    """`summary`, `query` and `report` know the sessions that are left, and no other."""
    names = files_of(probed)
    assert main(["logs", "summary", "--json", *names, "--min-bytes", "1"]) == 0
    figures = json.loads(capfd.readouterr().out)
    for table in ("sessions", "events WHERE session_id IS NOT NULL"):
        sql = f"SELECT DISTINCT session_id FROM {table}"
        assert main(["logs", "query", "--json", sql, *names, "--min-bytes", "1"]) == 0
        found = {row["session_id"] for row in json.loads(capfd.readouterr().out)}
        assert found == ids(probed, 1)
    page = tmp_path / "report.html"
    assert main(["logs", "report", *names, "-o", str(page), "--min-bytes", "1"]) == 0

    assert (figures["accepted"], figures["closed"], figures["starts"]) == (2, 2, 1)
    assert figures["passed"] is True
    assert figures["lines"]["small_sessions"] == 4
    assert "4 sessions below --min-bytes" in page.read_text()
    assert "all 2 sessions that ended cleanly" in page.read_text()


def test_follow_shows_a_session_once_it_is_large_enough(
    daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """A health check's lines never come; those of an open session do with its first byte."""
    process = daemon("--log-level", "debug")
    with (tmp_path / "followed").open("wb") as out:
        following = subprocess.Popen(
            [*ECHOD, "follow", str(process.log), "--min-bytes", "1", "-n", "99"], stdout=out
        )
    try:
        with process.client():
            pass  # the probe
        process.wait_for("session.closed")
        with process.client() as client:
            client.echo(b"x")
            wait_until(lambda: "session.data" in (tmp_path / "followed").read_text(), 60)
            text = (tmp_path / "followed").read_text()
    finally:
        following.terminate()
        following.wait(seconds(60))
    (probe,) = process.events("session.closed")[:1]

    assert [line.split()[3] for line in text.splitlines()] == [
        *("server.started", "session.accepted", "session.data")
    ]
    assert probe["session_id"] not in text


def test_an_audit_leaves_no_session_out(probed: DaemonProcess, capfd: Captured) -> None:
    """It has no such option; a breach by a small session is named in every verdict."""
    assert main(["logs", "audit", "--min-bytes", "1", str(probed.log)]) == 2
    assert "no option --min-bytes" in capfd.readouterr().err

    text = "".join(json.dumps(line) + "\n" for line in probed.lines())
    path = probed.folder / "forged.jsonl"
    path.write_text(
        text.replace('"received_bytes": 0, "sent_bytes": 0', '"received_bytes": 0, "sent_bytes": 7')
    )
    assert main(["logs", "summary", "--json", str(path), "--min-bytes", "1"]) == 0
    figures = json.loads(capfd.readouterr().out)

    assert figures["breach_counts"] == {"bytes differ": 4}
    assert figures["closed"] == 2


# -- any log ------------------------------------------------------------------------------

SIZES = st.sampled_from([0, 1, 500, 3_000, 100_000, 10**12])


def at_once(paths: Sequence[Path], wanted: Filter) -> list[Line]:
    """Return what `show` prints."""
    with opened("show", paths) as files:
        matcher = Matcher(wanted, small_sessions(files, wanted))
        return [line for line in merged_by_time(files) if matcher.matches(parsed(line.text))]


def followed(lines: Iterable[Line], wanted: Filter) -> list[Line]:
    """Return what `follow` prints."""
    matcher, held, found = Matcher(wanted), HeldSessions(wanted), []
    for line in lines:
        fields = parsed(line.text)
        found += held.after(line, fields, matches=matcher.matches(fields))
    return [*found, *held.rest()]


@given(data=st.data(), least=SIZES)
def test_lines_and_tables_agree_however_a_log_was_shipped(data: st.DataObject, least: int) -> None:
    """Pieces, names, order, packing, prefixes and line ends change no session that is left out."""
    _, write_all = written(data.draw, logs(data.draw))
    wanted = Filter(min_bytes=least)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_all(Path(folder))
        lines = at_once(paths, wanted)
        with opened("show", paths) as files, LogDatabase(files, wanted) as database:
            rows = database.rows("SELECT event, session_id FROM chosen WHERE kind IS NULL")

    events = [parsed(line.text) or {} for line in lines]
    found = Counter((event["event"], event.get("session_id")) for event in events if event)
    assert found == Counter(rows)


@given(
    runs=st.integers(1, 5),
    seed=st.integers(1, 50),
    wanted=st.builds(
        Filter,
        min_bytes=SIZES,
        events=st.sampled_from([(), ("session.accepted",)]),
        level=st.sampled_from(["debug", "warning"]),
    ),
)
def test_following_shows_the_same_lines_as_showing(runs: int, seed: int, wanted: Filter) -> None:
    """Those of a session stay in their order, and what a crash cut is shown as well."""
    made = [Line(b"", text.rstrip("\n").encode()) for _, text in lines_of(150, runs, seed)]
    data = b"".join(line.text + b"\n" for line in made)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        shown = at_once([Path(file.name)], wanted)
    live = followed(made, wanted)

    assert sorted(live) == sorted(shown)
    for session in {str(event(line).get("session_id")) for line in live}:
        of = [line for line in live if str(event(line).get("session_id")) == session]
        assert of == sorted(of, key=made.index)


def event(line: Line) -> dict[str, Any]:
    """Return a line's fields."""
    return parsed(line.text) or {}


def test_what_is_held_back_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, the session that has waited longest is shown, and all of its later lines are."""
    monkeypatch.setattr(module, "MOST_HELD", 2)
    lines = [
        Line(b"", json.dumps({"event": name, "session_id": session, **more}).encode())
        for name, session, more in (
            ("session.accepted", "a-1", {}),
            ("session.data", "a-1", {"bytes": "odd"}),
            ("session.accepted", "a-2", {}),
            ("session.data", "a-2", {"bytes": 10}),
            ("session.data", "a-1", {"bytes": 1}),
            ("session.accepted", "a-3", {}),
            ("session.accepted", "a-4", {}),
            ("session.accepted", "a-5", {}),
            ("session.closed", "a-1", {"received_bytes": 1}),
            ("session.closed", "a-4", {"received_bytes": 1}),
        )
    ]
    held = HeldSessions(Filter(min_bytes=10))
    steps = [list(held.after(line, event(line), matches=True)) for line in lines]

    assert [len(step) for step in steps] == [0, 0, 2, 2, 1, 0, 0, 1, 1, 0]
    assert repr(held) == "<HeldSessions 1 lines of 1 sessions>"
    assert [event(line)["session_id"] for line in held.rest()] == ["a-5"]


def test_only_sessions_that_are_known_to_be_small_are_left_out(tmp_path: Path) -> None:
    """An end without a count stays, and so does one of no session, with all else of none."""
    fields: list[dict[str, Any]] = [
        {"event": "server.started"},
        {"event": "session.closed", "session_id": "a-1"},
        {"event": "session.closed", "session_id": "a-2", "received_bytes": [0]},
        {"event": "session.closed", "received_bytes": 0},
        {"event": "session.closed", "session_id": None, "received_bytes": 0},
        {"event": "session.closed", "session_id": 3, "received_bytes": 0},
        {"event": "session.accepted", "session_id": 3},
    ]
    stamp = {"timestamp": "2026-01-05T00:00:00Z"}
    lines = [Line(b"", json.dumps({**stamp, **each}).encode()) for each in fields]
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b"".join(line.text + b"\n" for line in lines) + b"foreign\n")
    wanted = Filter(min_bytes=1)
    with opened("show", [path]) as files, LogDatabase(files, wanted) as database:
        rows = [row for (row,) in database.rows("SELECT row FROM chosen ORDER BY row")]

    assert at_once([path], wanted) == [*lines[:5], Line(b"", b"foreign")]
    assert followed(lines, wanted) == [*lines[:5], lines[6]]  # it was seen after its end
    assert rows == [0, 1, 2, 3, 4, 7]


def test_a_file_that_cannot_be_opened_is_passed_over() -> None:
    """There is nothing in it to keep or to go back to."""
    missing = LogFile("missing", "missing", problem="No such file or directory")

    assert small_sessions([missing], Filter(min_bytes=1)) == set()
    assert list(read_lines(missing)) == []
