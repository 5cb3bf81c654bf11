"""`echod logs` as a person and a script use it."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from echo.cli import main
from tests.logs.making import Maker
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process import DaemonProcess

    Captured = pytest.CaptureFixture[str]

# Work for the processor: where many tests run at once, it takes a multiple of its time.
pytestmark = pytest.mark.timeout(seconds(300))
ECHOD = [sys.executable, "-m", "echo", "logs"]
NEEDS_EXTRA = {
    *(f"echo.logs.{name}" for name in ("database", "figures", "page", "promises", "sql")),
    "echo.cli.logs.drawing",
}
EVIL = "\x1b[31m\u202e[red]<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Make a log."""
    path = tmp_path / "made.jsonl"
    path.write_text("".join(Maker(2_000).lines()))
    return path


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Make a log whose every text is hostile."""
    path = tmp_path / "evil.jsonl"
    line = {"timestamp": "2026-01-05T00:00:00.000000Z", "level": "info"}
    session = {"session_id": EVIL, "peer_ip": EVIL, "peer_port": 1}
    end = {"reason": EVIL, "received_bytes": 2, "sent_bytes": 3, "duration_s": 1.0}
    lines = [
        {**line, "event": "session.accepted", **session, "fd": 1, "active_sessions": 1},
        {**line, "event": "session.closed", **session, **end},
        {**line, "event": EVIL, EVIL: EVIL},
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines) + EVIL + "\n")
    return path


def said(capfd: Captured, *arguments: str, code: int = 0) -> str:
    """Run a command in this process, and give what it says."""
    assert main(["logs", *arguments]) == code
    out, err = capfd.readouterr()
    assert code or err == ""
    return out


# -- show -------------------------------------------------------------------------------


def test_show_prints_each_line_and_filters(log: Path, capfd: Captured) -> None:
    """A line of the log is a line on the screen; filters leave those wanted."""
    everything = said(capfd, "show", str(log))
    closed = said(capfd, "show", str(log), "--event", "session.closed", "--reason", "reset")

    assert everything.count("\n") == log.read_text().count("\n")
    assert 0 < closed.count("\n") == log.read_text().count('"reason":"reset"')
    assert said(capfd, "show", str(log), "--since", "10 min ago") == ""


def test_a_time_of_day_ends_what_since_begins(log: Path, capfd: Captured) -> None:
    """`--until 12:00` is the first noon after `--since`, whenever the question is asked."""
    shown = said(capfd, "show", str(log), "--since", "2026-01-06T10:00", "--until", "12:00")
    hours = {line[:13] for line in shown.splitlines()}

    assert hours == {"2026-01-06T10", "2026-01-06T11"}


def test_show_reads_several_daemons_in_the_order_of_time(tmp_path: Path, capfd: Captured) -> None:
    """Two logs are merged by their times, and what has no time stays in its place."""
    line = '{{"timestamp":"2026-01-05T00:00:0{}.000000Z","level":"info","event":"e{}"}}\n'
    (tmp_path / "a").write_text(line.format(1, 1) + "foreign\n" + line.format(4, 4))
    (tmp_path / "b.1").write_text(line.format(2, 2))
    (tmp_path / "b").write_text(line.format(3, 3))
    shown = said(capfd, "show", "a", "b", "b.1").splitlines()

    assert [line.split()[-1] for line in shown] == ["e1", "foreign", "e2", "e3", "e4"]


def test_a_file_that_cannot_be_read_is_reported_and_skipped(log: Path, capfd: Captured) -> None:
    """The others are read; the exit code says that one was not."""
    for command in ("show", "summary", "audit", "report"):
        code = main(["logs", command, str(log), "missing.jsonl"])
        err = capfd.readouterr().err

        assert code == 1
        assert "can't read missing.jsonl: No such file or directory" in err
        assert err.count("\n") == 1


def test_standard_input_is_a_log(log: Path) -> None:
    """`-` reads what a pipe brings, for each command; the last line need not end."""
    for command in (["show"], ["summary", "--json"]):
        done = subprocess.run(
            [*ECHOD, *command, "-"],
            input=log.read_bytes().rstrip(b"\n"),
            capture_output=True,
            timeout=seconds(60),
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(log: Path) -> None:
    """`| head -1` ends the writing quietly, whatever is written."""
    log.write_text(log.read_text() * 20)
    for command in ("show", "query SELECT_*_FROM_events --json"):
        words = [word.replace("_", " ") for word in command.split()]
        with subprocess.Popen(
            [*ECHOD, *words, str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as shown:
            assert shown.stdout is not None
            assert shown.stderr is not None
            shown.stdout.readline()
            shown.stdout.close()

            assert shown.stderr.read() == b""
            assert shown.wait(seconds(60)) == 0


def test_an_output_that_cannot_be_written_is_one_line(log: Path) -> None:
    """A full disk behind the output, and no output at all, are one line and no traceback."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*ECHOD, "show", str(log)], stdout=full, stderr=subprocess.PIPE, check=False
        )
    closed = subprocess.run(
        [*ECHOD, "show", str(log)],
        preexec_fn=lambda: os.close(1),
        stderr=subprocess.PIPE,
        check=False,
    )

    assert done.returncode == closed.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"standard output is closed" in closed.stderr
    assert done.stderr.count(b"\n") == closed.stderr.count(b"\n") == 1


# -- on a terminal ------------------------------------------------------------------------


def on_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; give the code, and all that it shows."""
    shown = b""
    terminal, other_end = pty.openpty()
    # Not pty.fork(): Python forbids it in a process that has threads.
    process = subprocess.Popen(
        [*ECHOD, *arguments],
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        env={**os.environ, **environment, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(other_end)
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the terminal's other end is closed
            break
    os.close(terminal)
    return process.wait(seconds(60)), shown.decode()


def test_a_terminal_gets_colours_and_a_pager(log: Path) -> None:
    """On a terminal, show goes through $PAGER, in colour; --no-pager doesn't."""
    code, paged = on_terminal("show", str(log), PAGER="sed s/^/paged:/")
    plain = on_terminal("show", str(log), "--no-pager")[1]
    without = on_terminal("show", str(log), PAGER="no-such-pager")[1]

    assert code == 0
    assert paged.count("paged:") == log.read_text().count("\n")
    assert "\x1b[" in paged
    assert "paged:" not in plain
    assert plain == without


def test_a_pager_that_is_left_early_is_no_error(log: Path) -> None:
    """`q` in the pager ends the reading."""
    log.write_text(log.read_text() * 20)
    code, shown = on_terminal("show", str(log), PAGER="head -1")

    assert code == 0
    assert shown.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "summary", "audit"])
def test_nothing_in_a_log_reaches_the_terminal(command: str, evil: Path) -> None:
    """Control characters, and what changes the direction of writing, are shown and not done."""
    shown = on_terminal(command, str(evil), PAGER="cat")[1]

    assert "\x1b[31m\u202e" not in shown
    assert "\u202e" not in shown
    assert "[red]" in shown


@pytest.mark.parametrize("command", ["summary", "query"])
def test_a_terminal_without_unicode_is_no_fault(command: str, log: Path) -> None:
    """What the encoding has no letters for is written otherwise."""
    sql = ["SELECT 'caf\u00e9'"] * (command == "query")
    done = subprocess.run(
        [*ECHOD, command, *sql, str(log)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=seconds(60),
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


# -- follow -------------------------------------------------------------------------------


class Following:
    """`echod logs follow`, and what it has shown so far."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / "followed", folder / "followed.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*ECHOD, "follow", *arguments], stdout=out, stderr=err, cwd=folder
            )

    @property
    def shown(self) -> str:
        """What it has written."""
        return self._out.read_text()

    @property
    def said(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has shown a text."""
        wait_until(lambda: text in self.shown, 60, text)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Following]]:
    """Follow logs; at the end, each is interrupted and ends with 0 and no word."""
    followed: list[Following] = []

    def start(*arguments: str) -> Following:
        followed.append(Following(tmp_path, *arguments))
        return followed[-1]

    yield start
    for each in followed:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGINT)
        assert each.process.wait(seconds(60)) == 0
        assert "Traceback" not in each.said


def test_follow_shows_sessions_through_rotations(
    daemon: Callable[..., DaemonProcess], follow: Callable[..., Following]
) -> None:
    """Each line of a daemon whose log is rotated all the time is shown once, in order."""
    process = daemon("--log-max-size", "2000", "--log-keep", "50")
    following = follow(str(process.log), "--lines", "1000")
    following.wait_for("server.started")
    for count in range(60):
        with process.client() as client:
            client.echo(b"x" * count)
    process.wait_for("session.closed", 60)
    following.wait_for(process.events("session.closed")[-1]["session_id"])
    wait_until(lambda: following.shown.count("session.closed") == 60, 60)

    stamps = [line.split()[0] for line in following.shown.splitlines()]
    assert len(list(process.log.parent.glob("echo.jsonl.*"))) > 3
    assert following.shown.count("session.accepted") == 60
    assert stamps == sorted(stamps)


def test_follow_waits_for_a_log_and_filters(
    tmp_path: Path, follow: Callable[..., Following]
) -> None:
    """A log that isn't there yet is waited for; only what is wanted is shown."""
    following = follow("a.jsonl", "--level", "warning")
    wait_until(lambda: "waiting for a.jsonl" in following.said, 60)
    line = '{{"timestamp":"2026-01-05T00:00:00Z","level":"{}","event":"{}"}}\n'
    (tmp_path / "a.jsonl").write_text(line.format("info", "one") + line.format("error", "two"))
    following.wait_for("two")

    assert "one" not in following.shown


def test_follow_goes_on_when_a_log_is_emptied_or_replaced(
    tmp_path: Path, follow: Callable[..., Following]
) -> None:
    """copytruncate, and a new file under the name: what is written next is shown."""
    path = tmp_path / "a.jsonl"
    path.write_text("noise\n" * 300_000 + "before\n")
    following = follow("a.jsonl", "--lines", "1")
    following.wait_for("before")
    path.write_text("emptied\nunfini")
    following.wait_for("emptied")
    other = tmp_path / "other"
    other.write_text("replaced\n")
    other.replace(path)
    following.wait_for("replaced")

    assert following.shown.split() == ["before", "emptied", "unfini", "replaced"]


def test_follow_ends_where_the_log_cannot_be_read_any_more(tmp_path: Path) -> None:
    """A folder that is a file now will never have the log: that is reported."""
    (tmp_path / "d").mkdir()
    following = Following(tmp_path, "d/a.jsonl")
    wait_until(lambda: "waiting for" in following.said, 60)
    (tmp_path / "d").rmdir()
    (tmp_path / "d").touch()

    assert following.process.wait(seconds(60)) == 1
    assert "can't read d/a.jsonl: Not a directory" in following.said


def test_follow_reads_a_pipe_to_its_end(log: Path) -> None:
    """`journalctl -f | echod logs follow -` shows what comes, and ends with it."""
    done = subprocess.run(
        [*ECHOD, "follow", "-", "--event", "session.refused", "--event", "server.started"],
        input=log.read_bytes(),
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"server.started") == 5


def test_follow_reads_a_named_pipe_to_its_end(
    log: Path, tmp_path: Path, follow: Callable[..., Following]
) -> None:
    """What a FIFO brings, `<(ssh host tail -F log)` of a shell among them, is shown as it comes."""
    os.mkfifo(tmp_path / "pipe")
    following = follow("pipe", "--event", "server.started")
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(log.read_bytes())

    assert following.process.wait(seconds(60)) == 0
    assert following.shown.count("server.started") == 5


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-", "a"], 2, "a pipe can't be followed beside files"),
        (["a.gz"], 2, "a.gz is compressed"),
        (["."], 1, "can't read .: Is a directory"),
        (["a/b"], 1, "can't read a/b: Not a directory"),
    ],
)
def test_what_cannot_be_followed_is_reported(
    arguments: list[str], code: int, says: str, tmp_path: Path, capfd: Captured
) -> None:
    """One line, and the right code."""
    (tmp_path / "a").touch()

    assert main(["logs", "follow", *arguments]) == code
    assert says in capfd.readouterr().err


# -- summary, audit, report ---------------------------------------------------------------


def test_summary_is_one_screen(log: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts, tables and charts fit a terminal of 40 lines, also a narrow one."""
    heights = []
    for columns in ("80", "140"):
        monkeypatch.setenv("COLUMNS", columns)
        shown = said(capfd, "summary", str(log))
        heights.append(shown.count("\n"))
        assert all(len(line) <= int(columns) for line in shown.splitlines())
        for text in ("Sessions", "Ends", "p99", "busiest of", "sessions begun", "bytes received"):
            assert text in shown

    assert heights[1] < heights[0] <= 40


@pytest.mark.parametrize(("columns", "lines"), [("80", "24"), ("80", "50"), ("120", "30")])
def test_summary_fits_the_terminal(log: Path, columns: str, lines: str) -> None:
    """Nothing of it has scrolled away when the prompt is back, and both charts are there."""
    shown = on_terminal("summary", str(log), COLUMNS=columns, LINES=lines)[1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()

    assert len(plain) < int(lines)
    assert all(len(line) <= int(columns) for line in plain)
    assert shown.count("each 6 h") == 2


def test_summary_on_a_tiny_terminal_is_whole(log: Path) -> None:
    """Where nothing fits, nothing is lost: it scrolls."""
    shown = on_terminal("summary", str(log), COLUMNS="80", LINES="10")[1]

    assert "No promise is broken" in shown
    assert shown.count("each 6 h") == 2


def test_summary_of_nothing_has_no_chart(tmp_path: Path, capfd: Captured) -> None:
    """An empty log is no error."""
    (tmp_path / "a").touch()
    shown = said(capfd, "summary", "a")

    assert "0 accepted" in shown
    assert "sessions begun" not in shown


def test_summary_says_what_it_left_out(evil: Path, capfd: Captured) -> None:
    """Lines and events that are not known are named on the screen."""
    shown = said(capfd, "summary", str(evil))

    assert "1 foreign line; unknown events: " in shown
    assert "unknown fields: " in shown


def test_json_has_the_names_of_the_log(log: Path, capfd: Captured) -> None:
    """Scripts find the figures by the names of the log's fields."""
    found: dict[str, Any] = json.loads(said(capfd, "summary", "--json", "--peers", "2", str(log)))

    assert {"accepted", "closed", "refused", "received_bytes", "sent_bytes"} <= set(found)
    assert list(found["duration_s"]) == ["p50", "p95", "p99", "max"]
    assert set(found["reasons"]) > {"eof"}
    assert len(found["peers"]) == 2
    assert set(found["peers"][0]) == {"peer_ip", "sessions", "received_bytes"}


def test_audit_says_what_it_found_and_fails(log: Path, capfd: Captured) -> None:
    """A sound log is 0; a breach is 1, named by file and line, for people and for scripts."""
    sound = said(capfd, "audit", str(log))
    lines = log.read_text().splitlines(keepends=True)
    lines[10] = lines[10][:50] + "\n"
    log.write_text("".join(lines))
    torn = said(capfd, "audit", str(log), code=1)
    found = json.loads(said(capfd, "audit", "--json", str(log), code=1))

    assert "No promise is broken.\nEvery byte came back in all" in sound
    assert "more: cut by a crash" in sound
    assert f"{log}:11: torn line: " in torn
    assert "breaches of the daemon's promises: " in torn
    assert not found["passed"]
    assert {"kind": "torn line", "file": str(log), "line": 11} == {
        name: found["breaches"][0][name] for name in ("kind", "file", "line")
    }


def test_one_breach_is_not_plural(log: Path, capfd: Captured) -> None:
    """The verdict is a sentence."""
    log.write_text(log.read_text() + '{"timestamp":"2026\n')

    assert "1 breach of the daemon's promises: torn line (1)." in said(
        capfd, "audit", str(log), code=1
    )


def test_audit_of_a_real_daemon_passes(
    daemon: Callable[..., DaemonProcess], capfd: Captured
) -> None:
    """A daemon that runs, then one that has stopped: what it wrote holds its promises."""
    process = daemon()
    for _ in range(5):
        with process.client() as client:
            client.echo(b"hello")
    with process.client() as client:
        client.echo(b"still here")
        process.wait_for("session.accepted", 6)
        running = said(capfd, "audit", str(process.log))
    process.stop()
    stopped = said(capfd, "audit", str(process.log))

    assert "still open" in running
    assert stopped.startswith("No promise is broken.\nEvery byte came back in all 6 sessions")
    assert "The totals of the daemon were compared with the sessions." in stopped


def test_report_is_one_page_that_needs_nothing(log: Path, tmp_path: Path, capfd: Captured) -> None:
    """The page leads with the verdict, has four charts, and no address in it."""
    said(capfd, "report", str(log), "-o", "page.html")
    page = (tmp_path / "page.html").read_text()
    piped = said(capfd, "report", str(log), "--output", "-")

    assert page.count('role="img"') == 4
    verdict = page.index("<strong>Every byte came back in all")
    assert verdict < page.index("No promise is broken.") < page.index("<dl>")
    for text in ("Sessions that did not end cleanly", "begun in the minute from", "sent back"):
        assert text in page
    assert re.findall(r"<tr><td>(p50|p95|p99|max)</td>(?:<td>[^<]+</td>){2}</tr>", page)[3:] == [
        "max"
    ]
    assert piped.count('class="tip"') == page.count('class="tip"') > 30
    for word in ("<script", "http:", "https:", "src=", "@import", "url("):
        assert word not in page


def test_report_shows_and_never_obeys(evil: Path, tmp_path: Path, capfd: Captured) -> None:
    """Whatever stands in the log is text on the page."""
    said(capfd, "report", str(evil))
    page = (tmp_path / "report.html").read_text()

    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_report_of_nothing_has_no_chart(tmp_path: Path, capfd: Captured) -> None:
    """An empty log is no error."""
    (tmp_path / "a").touch()

    page = said(capfd, "report", "a", "-o", "-")

    assert "<figure" not in page
    assert "No event of echod was found" in page
    assert "<table" not in page


def test_report_of_an_empty_period_says_what_was_left_out(log: Path, capfd: Captured) -> None:
    """The verdict counts the events of other times; tables without a row are left out."""
    page = said(capfd, "report", str(log), "--since", "2030-01-01", "-o", "-")

    assert re.search(r"the input holds [\d,]+ events, and none matches what was asked for\.", page)
    assert "<table" not in page


def test_report_has_few_times_below_few_bars(tmp_path: Path, capfd: Captured) -> None:
    """Below four bars stand the first time and the last: a third would cover one of them."""
    lines = [
        f'{{"timestamp":"2026-01-05T10:00:0{second}.000000Z","level":"info",'
        f'"event":"session.accepted","session_id":"a-{second}","peer_ip":"192.0.2.1",'
        f'"peer_port":1,"fd":9,"active_sessions":1}}\n'
        for second in range(4)
    ]
    (tmp_path / "a").write_text("".join(lines))
    page = said(capfd, "report", "a", "-o", "-")
    times = re.search(r'<div class="ticks few">(.*?)</div>', page)

    assert times
    assert re.findall(r">([\d:]+)<", times[1]) == ["10:00:00", "10:00:03"]


def test_a_report_that_cannot_be_written_says_so(log: Path, capfd: Captured) -> None:
    """The code is that of a file that can't be made."""
    assert main(["logs", "report", str(log), "-o", "no/such/folder/r.html"]) == 73
    assert "can't write no/such/folder/r.html: No such file" in capfd.readouterr().err


def test_the_summary_says_the_verdict_first(log: Path, capfd: Captured) -> None:
    """What a person asks first stands first, in words; so it does on a screen of 40 columns."""
    shown = said(capfd, "summary", str(log))
    log.write_text(log.read_text().replace('"reason":"reset"', '"reason":"eof"'))
    bad = said(capfd, "summary", str(log))

    assert shown.startswith("No promise is broken. Every byte came back in all")
    assert "of the daemon's promises: bytes differ" in bad.splitlines()[0]


def test_a_narrow_screen_has_the_titles_of_its_charts(
    log: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 40 columns, and where COLUMNS is none at all."""
    monkeypatch.setenv("COLUMNS", "40")
    narrow = said(capfd, "summary", str(log))
    monkeypatch.setenv("COLUMNS", "0")
    none = said(capfd, "summary", str(log))

    assert "sessions begun, each" in narrow
    assert "bytes received, each" in narrow
    assert all(len(line) <= 40 for line in narrow.splitlines())
    assert "No promise" in none


def test_a_pager_that_is_no_command_is_reported(log: Path) -> None:
    """The log is shown without it."""
    code, shown = on_terminal("show", str(log), PAGER='less "')

    assert code == 0
    assert "no pager: PAGER is" in shown
    assert shown.count("session.accepted") == log.read_text().count("session.accepted")


def test_a_prefix_is_shown_as_it_is(capfd: Captured, tmp_path: Path, log: Path) -> None:
    """What a shipper put before an event stays before it; filters see the event."""
    (tmp_path / "a").write_text(
        "".join(f"echod-1  | {line}" for line in log.read_text().splitlines(True))
    )
    shown = said(capfd, "show", "a", "--event", "server.started").splitlines()
    count = said(capfd, "query", "SELECT count(*) AS n FROM events", "a", "--json")

    assert len(shown) == 5
    assert all(line.startswith("echod-1  | 2026-01-") for line in shown)
    assert json.loads(count)[0]["n"] == log.read_text().count("\n")


def test_a_reason_means_the_same_lines_for_each_command(log: Path, capfd: Captured) -> None:
    """`--reason` leaves the lines that name it; the sessions are those of these lines."""
    count = log.read_text().count('"reason":"reset"')
    shown = said(capfd, "show", str(log), "--reason", "reset").count("\n")
    sql = "SELECT (SELECT count(*) FROM events) AS e, (SELECT count(*) FROM sessions) AS s"
    rows = json.loads(said(capfd, "query", sql, "--json", str(log), "--reason", "reset"))

    assert shown == count > 0
    assert rows == [{"e": count, "s": count}]


def test_a_time_zone_is_that_of_the_times_asked_for(log: Path, capfd: Captured) -> None:
    """`--tz` moves what names no zone, and nothing else."""
    utc = said(capfd, "show", str(log), "--since", "2026-01-06T10:00", "--until", "12:00")
    there = ("--tz", "Europe/Berlin", "--since", "2026-01-06T11:00", "--until", "13:00")

    assert said(capfd, "show", str(log), *there) == utc != ""
    assert said(capfd, "show", str(log), "--tz", "local", "--since", "2030-01-01") == ""


def test_more_files_than_the_soft_limit_of_descriptors_are_read(tmp_path: Path, log: Path) -> None:
    """All files are open at once: the limit is raised as far as it may be."""
    made = tmp_path / "pieces"
    made.mkdir()
    lines = log.read_text().splitlines(keepends=True)
    for number in range(100):
        part = lines[len(lines) * number // 100 : len(lines) * (number + 1) // 100]
        (made / f"echo.jsonl.{number:03}").write_text("".join(part))
    names = sorted(map(str, made.iterdir()))
    done = subprocess.run(
        ["bash", "-c", 'ulimit -Sn 40 && exec "$@"', "bash", *ECHOD, "audit", *names],
        capture_output=True,
        check=False,
        timeout=seconds(60),
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_follow_begins_with_the_last_lines(log: Path, follow: Callable[..., Following]) -> None:
    """`-n 5` is as tail(1) has it."""
    following = follow("-n", "5", str(log))
    following.wait_for("server.stopped")

    assert following.shown.count("\n") == 5


# -- query --------------------------------------------------------------------------------


def test_query_answers_in_a_table_and_in_json(log: Path, capfd: Captured) -> None:
    """Columns by name; times as the log has them; numbers as numbers."""
    sql = "SELECT event, count(*) AS n, min(timestamp) AS first FROM events GROUP BY event;"
    table = said(capfd, "query", sql, str(log))
    rows = json.loads(said(capfd, "query", sql, "--json", str(log)))
    by_event = {row["event"]: row for row in rows}

    assert "session.accepted" in table
    assert by_event["server.started"]["n"] == 5
    assert by_event["server.started"]["first"] == "2026-01-05T00:00:00.000000Z"


def test_query_has_each_session_and_the_place_of_each_event(log: Path, capfd: Captured) -> None:
    """Sessions have both ends and a state; events their file, line, other fields and text."""
    states = json.loads(
        said(
            capfd, "query", "SELECT state, count(*) n FROM sessions GROUP BY 1", "--json", str(log)
        )
    )
    text = json.loads(
        said(
            capfd, "query", "SELECT file, line, text FROM events WHERE line = 7", "--json", str(log)
        )
    )

    assert {row["state"] for row in states} == {"closed", "crashed"}
    assert text == [{"file": str(log), "line": 7, "text": log.read_text().splitlines()[6]}]


def test_query_gives_events_as_they_stand_in_the_log(log: Path, capfd: Captured) -> None:
    """Without ORDER BY the rows are in the order of the lines; ports are numbers, as all counts."""
    sql = "SELECT line, typeof(status_port) AS port FROM events LIMIT 500"
    rows = json.loads(said(capfd, "query", sql, "--json", str(log)))

    assert "other_fields" in said(capfd, "query", "DESCRIBE events", str(log))
    assert rows == [{"line": line, "port": "BIGINT"} for line in range(1, 501)]


def test_query_tells_columns_apart_and_writes_odd_values(log: Path, capfd: Captured) -> None:
    """Two columns of one name, a NULL, what is no number, and a time with a zone."""
    same = said(capfd, "query", "SELECT 1 AS a, 2 AS a, NULL -- why not", str(log))
    sql = "SELECT 'nan'::DOUBLE AS a, TIMESTAMPTZ '2026-01-31 10:00:00+02' AS b, [1] AS \"c\"\"\""
    odd = json.loads(said(capfd, "query", sql, "--json", str(log)))

    assert re.search(r"a +\u2503 a_1 +\u2503", same)
    assert re.search(r"1 \u2502 +2 \u2502", same)
    assert odd == [{"a": None, "b": "2026-01-31T08:00:00.000000Z", 'c"': [1]}]
    assert said(capfd, "query", "SELECT 1 WHERE false", "--json", str(log)) == "[]\n"


def test_query_writes_what_json_can_hold(log: Path, capfd: Captured) -> None:
    """No number that JSON lacks stands anywhere in it; a comment behind the end is no question."""
    sql = "SELECT ['nan'::DOUBLE, 1] AS l, {'x': 'inf'::FLOAT} AS s, 2::HUGEINT ** 2 AS n; -- c"
    rows = json.loads(said(capfd, "query", sql, "--json", str(log)), parse_constant=pytest.fail)

    assert rows == [{"l": [None, 1.0], "s": {"x": None}, "n": 4.0}]


def test_values_of_any_type_are_written(log: Path, capfd: Captured) -> None:
    """Bytes, days and numbers that are none have a text."""
    sql = "SELECT 'nan'::DOUBLE AS a, 'x'::BLOB AS b, DATE '2026-01-31' AS c, [1] AS d"
    shown = said(capfd, "query", sql, str(log))

    assert re.search(r"nan \u2502 x +\u2502 2026-01-31 \u2502 \[1\]", shown)


def test_numbers_of_a_query_are_aligned_right(log: Path, capfd: Captured) -> None:
    """Ones stand below ones."""
    shown = said(capfd, "query", "SELECT unnest([1, 1000]) AS number, 'x' AS t", str(log))

    assert re.search(r"\u2502 +1 \u2502 x", shown)


def test_a_long_answer_is_cut_in_a_table_only(log: Path, capfd: Captured) -> None:
    """A table is drawn whole, so that it has a bound; JSON has none."""
    table = said(capfd, "query", "FROM range(2000)", str(log))
    rows = json.loads(said(capfd, "query", "FROM range(2000)", "--json", str(log)))

    assert "the first 1,000 rows" in table
    assert len(rows) == 2000


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE lines",
        "SELECT 1; SELECT 2",
        "",
        "SELEC",
        "SELECT * FROM nowhere",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY events TO 'x.csv'",
        "ATTACH 'x.db'",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SELECT getenv('HOME')",
        "SELECT * FROM capfd",
        "SELECT 1) AS answer(c0); DROP TABLE lines; --",
    ],
)
def test_query_reads_the_log_and_nothing_else(
    sql: str, log: Path, capfd: Captured, tmp_path: Path
) -> None:
    """No SQL writes, reads another file, loads an extension or unlocks this."""
    assert main(["logs", "query", sql, str(log)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("echod: logs query: ")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [log.name]


def test_an_answer_that_fails_on_its_way_is_one_line(log: Path, capfd: Captured) -> None:
    """What only the thousandth row shows is an error of the same kind."""
    sql = "SELECT CASE WHEN range < 50000 THEN range ELSE error('too far') END FROM range(100000)"

    assert main(["logs", "query", sql, "--json", str(log)]) in (1, 2)
    assert "too far" in capfd.readouterr().err


# -- what is missing, and what is wrong -----------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["summary"], "duckdb"),
        (["summary"], "plotext"),
        (["audit"], "duckdb"),
        (["report"], "jinja2"),
        (["query", "FROM events"], "duckdb"),
    ],
)
def test_a_missing_extra_is_one_line_that_installs_it(
    arguments: list[str],
    module: str,
    log: Path,
    capfd: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that needs what is not installed says how to install it."""
    for name in list(sys.modules):
        if name in NEEDS_EXTRA or name == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)

    assert main(["logs", *arguments, str(log)]) == 1
    err = capfd.readouterr().err
    assert f"{module} is not installed: {sys.executable} -m pip install " in err
    assert "echo-daemon[logs]" in err or err.endswith("[logs]'\n")


def test_show_and_the_daemon_need_no_extra(log: Path) -> None:
    """Neither show with an ISO time nor the daemon imports what the extra brings."""
    code = (
        "import sys; from echo.cli import main; import echo.cli.serve, echo.cli.logs.follow;"
        f"main(['logs', 'show', {str(log)!r}, '--since', '2026-01-01']);"
        "sys.exit(bool({'duckdb', 'plotext', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)

    assert done.returncode == 0
    assert done.stdout


def test_another_missing_module_is_no_extra(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """A fault of ours is not taken for a missing extra."""
    monkeypatch.setitem(sys.modules, "echo.logs.promises", None)

    assert main(["logs", "audit", str(log)]) == 70


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("summary missing", 1, "can't read missing: No such file or directory"),
        ("summary", 1, "can't read logs/echo.jsonl: No such file or directory; name a log that"),
        ("audit .", 1, "can't read .: Is a directory"),
        ("show --since soon x", 2, "'soon' is no time: use 2026-01-31T15:00, 9:30"),
        ("audit --peer nobody x", 2, "--peer: 'nobody' does not appear to be"),
        ("show --level loud x", 2, "--level"),
        ("query", 2, "--sql"),
        ("show --since= x", 2, "'' is no time: use 2026-01-31T15:00, 9:30"),
        ("show --until 2026-01 x", 2, "'2026-01' is no time"),
        ("show --tz Mars/Base x", 2, "'Mars/Base' is no zone: use UTC, local"),
        ("show --peers 10.0.0.1 x", 2, "there is no option --peers: did you mean --peer?"),
        ("show --last 5 x", 2, "there is no option --last: see echod logs show --help"),
        ("audit -x", 2, "there is no option -x: see echod logs audit --help"),
        ("show --min-bytes 1x x", 2, "--min-bytes must be a size such as 512, 64k or 1.5M"),
        ("summary --min-bytes 9999999999T x", 2, "--min-bytes"),
        ("audit --min-bytes 1 x", 2, "there is no option --min-bytes"),
        ("follow --line 5 x", 2, "there is no option --line: did you mean --lines?"),
        ("show --event session.close x", 2, "no 'session.close': did you mean session.closed?"),
        ("query --reason idel_timeout SELECT", 2, "did you mean idle_timeout?"),
        ("audit --reason zzz x", 2, "no 'zzz': use one of eof, reset"),
        ("audit empty", 65, "No event of echod was found: the input holds nothing: it is empty."),
        ("audit bad.gz", 65, "the input holds 1 line of text that is no event."),
        ("audit --json empty --session x", 65, "No event of echod was found"),
        ("follow /dev/zero", 1, "can't read /dev/zero: it is a device"),
        ("audit torn.zst", 1, "can't read torn.zst: "),
    ],
)
def test_a_mistake_is_one_line(
    line: str, code: int, says: str, capfd: Captured, tmp_path: Path
) -> None:
    """Wrong use says what is wrong and what to do."""
    (tmp_path / "bad.gz").write_text("no gzip")
    (tmp_path / "empty").touch()
    (tmp_path / "torn.zst").write_bytes(b"\x28\xb5\x2f\xfd torn")
    assert main(["logs", *line.split()]) == code
    out, err = capfd.readouterr()
    assert out == "" or "--json" in line
    assert says in err
    assert err.count("\n") == 1


def test_no_room_for_what_memory_does_not_take_is_one_line(
    log: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is larger than memory and the temporary folder ends with a line."""
    monkeypatch.setattr("echo.logs.database.MEMORY_BYTES", 1_000_000)
    monkeypatch.setattr("echo.logs.database.SPILL_BYTES", 1_000_000)
    log.write_text(log.read_text() * 100)

    assert main(["logs", "summary", str(log)]) == 1
    err = capfd.readouterr().err
    assert "emory" in err
    assert err.count("\n") == 1


def test_a_temporary_folder_without_room_is_one_line(log: Path, capfd: Captured) -> None:
    """Where there is no room for what is read, that is reported with what helps."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        code = main(["logs", "summary", str(log)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out, err = capfd.readouterr()

    assert (code, out) == (1, "")
    assert "can't write to the temporary folder: File too large; name a larger one" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("ticks", [5, 60])
@pytest.mark.parametrize("what", ["count(*)", "hash(range)"])
def test_an_interrupt_while_working_is_no_fault(
    ticks: int, what: str, log: Path, tmp_path: Path
) -> None:
    """INT in the middle of a question ends it without a word, as a shell expects."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    sql = f"SELECT {what} FROM range(1000000000000) WHERE hash(range) = 1"
    process = subprocess.Popen(
        [*ECHOD, "query", sql, str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    stat = Path(f"/proc/{process.pid}/stat")

    def worked() -> int:
        return int(stat.read_text().rpartition(")")[2].split()[11])

    wait_until(lambda: list(temporary.iterdir()), 60, "all is imported, and the work begins")
    began = worked()
    wait_until(lambda: worked() > began + ticks, 60, "some of the work is done")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=seconds(60))

    assert (process.returncode, said) == (130, b"")


def test_an_interrupt_while_reading_leaves_nothing(log: Path, tmp_path: Path) -> None:
    """INT during a long reading ends it, and takes the temporary folder along."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*ECHOD, "summary", "-"],
        stdin=reader,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    os.close(reader)
    os.write(writer, log.read_bytes()[:10_000])
    wait_until(lambda: list(temporary.iterdir()), 60, "the temporary folder")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    code = process.wait(seconds(60))
    os.close(writer)

    assert code == 130
    assert said == b""
    assert list(temporary.iterdir()) == []
