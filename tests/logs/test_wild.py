"""Logs as people have them: the audit accuses no healthy one, and finds what was lost in any."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo.logs import words
from echo.logs.database import LogDatabase
from echo.logs.files import LogFile, open_all
from echo.logs.promises import Audit, audit
from echo.logs.reader import read_lines
from tests.logs import shipping
from tests.logs.making import BEGIN, Maker
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Line = tuple[int, str]
    Draw = Callable[[st.SearchStrategy[Any]], Any]

# Work for the processor: where many tests run at once, it takes a multiple of its time.
pytestmark = pytest.mark.timeout(seconds(300))


def audited(paths: Sequence[Path]) -> Audit:
    """Audit files, named in this order."""
    with LogDatabase(open_all([str(path) for path in paths])) as database:
        return audit(database)


def breaches(found: Audit) -> set[tuple[str, str, int]]:
    """Return what was found, by file name and line."""
    return {(f.kind, Path(f.file).name, f.line) for f in found.breaches}


def lines_of(
    events: int = 200, runs: int = 3, seed: int = 1, first: int = 0, begin: float = BEGIN
) -> list[Line]:
    """Return the lines of daemons that follow each other, with numbers from `first` on."""
    return [(first + n, text) for n, text in enumerate(Maker(events, runs, seed, begin).lines())]


def stamp(line: Line) -> str:
    """Return a line's time."""
    found: str = json.loads(line[1])["timestamp"]
    return found


def moved(lines: Sequence[Line], since: str, by: str) -> list[Line]:
    """Return lines with another beginning of the time in those since a time."""
    return [
        shipping.changed(line, timestamp=by + stamp(line)[len(by) :])
        if stamp(line) >= since
        else line
        for line in lines
    ]


def write(path: Path, *parts: Sequence[Line]) -> Path:
    """Write lines to a file."""
    path.write_text("".join(text for part in parts for _, text in part))
    return path


# -- drawn: what loses nothing, and what loses something -------------------------------------


@dataclass
class File:
    """One file to be written: its lines in their order, and how they are written."""

    name: str
    lines: list[Line]
    wrap: Callable[[str], str]
    mark: bool
    crlf: bool
    packing: str

    def write(self, folder: Path) -> Path:
        """Write it."""
        data = shipping.file_bytes(self.lines, self.wrap, mark=self.mark, crlf=self.crlf)
        path = folder / f"{self.name}{self.packing}"
        path.write_bytes(shipping.PACKERS[self.packing](data))
        return path


def shipped(draw: Draw, lines: Sequence[Line], folder: str) -> list[File]:
    """Draw what happens to the log of a daemon: rotation, names, joining, wrapping, packing."""
    cuts = sorted(draw(st.sets(st.integers(1, len(lines) - 1), max_size=4)))
    pieces = [
        list(lines[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)
    ]
    if len(pieces) > 1 and draw(st.booleans()):
        joined = draw(st.integers(0, len(pieces) - 2))  # `cat`, in the wrong order too
        both = pieces[joined : joined + 2]
        pieces[joined : joined + 2] = [[*chain(*both[:: draw(st.sampled_from([1, -1]))])]]
    naming = draw(st.sampled_from(shipping.NAMES))
    return [
        File(
            f"{folder}-{naming(number, len(pieces))}",
            piece,
            draw(st.sampled_from(shipping.WRAPPERS)),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.sampled_from(list(shipping.PACKERS))),
        )
        for number, piece in enumerate(pieces)
    ]


def logs(draw: Draw) -> list[list[Line]]:
    """Draw healthy logs: of one daemon after the other, of two that share a file, of two files."""
    seeds = st.integers(1, 50)
    runs = st.integers(1, 3)
    one = lines_of(150, draw(runs), draw(seeds))
    # Had both started in the same microsecond, a stop's uptime wouldn't tell whose it is.
    two = lines_of(150, draw(runs), draw(seeds) + 50, first=10_000, begin=BEGIN + 3600)
    return draw(  # type: ignore[no-any-return]
        st.sampled_from(
            [[one], [one, two], [one + two], [two + one], [sorted(one + two, key=stamp)]]
        )
    )


def written(
    draw: Draw, healthy: Sequence[Sequence[Line]]
) -> tuple[list[File], Callable[[Path], list[Path]]]:
    """Draw what happens to logs, and return how they are written and in which order named."""
    files = [file for n, log in enumerate(healthy) for file in shipped(draw, log, "ab"[n])]
    order = draw(st.permutations(range(len(files))))

    def write_all(folder: Path) -> list[Path]:
        paths = [file.write(folder) for file in files]
        return [paths[place] for place in order]

    return files, write_all


@given(data=st.data())
def test_what_loses_nothing_is_no_breach(data: st.DataObject) -> None:
    """Pieces, names, order, packing, marks, prefixes, line ends and joining change no verdict."""
    healthy = logs(data.draw)
    _, write_all = written(data.draw, healthy)
    sessions = sum('"session.accepted"' in text for log in healthy for _, text in log)
    with tempfile.TemporaryDirectory() as folder:
        found = audited(write_all(Path(folder)))

    assert found.breach_counts == {}
    assert found.sessions == sessions


@given(data=st.data())
def test_a_log_whose_older_pieces_are_gone_is_no_breach(data: st.DataObject) -> None:
    """Rotation deletes the oldest: what began there is not held against the rest."""
    late = [log[data.draw(st.integers(0, len(log) - 1)) :] for log in logs(data.draw)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(Path(folder) / f"echo-{n}.jsonl", log) for n, log in enumerate(late)]
        found = audited(paths)

    assert found.breach_counts == {}


def draw_damage(draw: Draw, log: list[Line]) -> tuple[str, int]:
    """Damage a log: return the kind of breach, and the number of the line that it names."""
    stopped = [n for n, (_, text) in enumerate(log) if "server.stopped" in text]
    runs = {log[n - 1][1].partition('"session_id":"')[2].partition("-")[0] for n in stopped} - {""}
    of_runs = [n for n, (_, text) in enumerate(log) if any(f'"{run}-' in text for run in runs)]
    closed = [n for n in of_runs if "session.closed" in log[n][1]]
    place = draw(st.sampled_from(closed))
    session = json.loads(log[place][1])["session_id"]
    opened = next(n for n in of_runs if "accepted" in log[n][1] and f'"{session}"' in log[n][1])
    kind = draw(st.sampled_from(["closing", "opening", "twice", "torn", "glued", "bytes", "type"]))
    if kind == "closing":
        del log[place]
        return "never closed", log[opened][0]
    if kind == "opening":
        number = log[place][0]
        del log[opened]
        return "never accepted", number
    number, text = log[place]
    if kind == "twice":
        log.insert(place, (-1, text))
        return "closed twice", -1
    if kind == "torn":
        log[place] = (number, text[: draw(st.integers(20, len(text) - 3))] + "\n")
        return "torn line", number
    if kind == "glued":
        log[place] = (number, text[:-2] + text)
        return "torn line", number
    if kind == "type":
        log[place] = shipping.changed((number, text), duration_s="long")
        return "incomplete event", number
    sent = json.loads(text)["sent_bytes"]
    log[place] = shipping.changed((number, text), reason="eof", received_bytes=sent + 1)
    return "bytes differ", number


@given(data=st.data())
def test_what_loses_something_is_found_by_file_and_line(data: st.DataObject) -> None:
    """Whatever has happened to the files, damage to a line is a breach, named where it is."""
    healthy = [list(log) for log in logs(data.draw)]
    kind, number = draw_damage(data.draw, data.draw(st.sampled_from(healthy)))
    files, write_all = written(data.draw, healthy)
    with tempfile.TemporaryDirectory() as folder:
        found = audited(write_all(Path(folder)))
    place = next(
        (kind, file.name + file.packing, line)
        for file in files
        for line, (each, _) in enumerate(file.lines, 1)
        if each == number
    )

    assert place in breaches(found)


# -- by name: each has been met -----------------------------------------------------------


@pytest.mark.parametrize("name", shipping.NAMES)
def test_pieces_are_ordered_by_their_times_whatever_their_names(
    name: Callable[[int, int], str], tmp_path: Path
) -> None:
    """A log in four pieces, in any way that rotation names them, is one log."""
    lines = lines_of(400, 2)
    paths = [
        write(tmp_path / name(n, 4), lines[len(lines) * n // 4 : len(lines) * (n + 1) // 4])
        for n in range(4)
    ]
    found = audited([paths[n] for n in (2, 0, 3, 1)])

    assert found.passed
    assert found.remark_counts == {}
    assert (found.runs, found.runs_compared) == (2, 2)


@pytest.mark.parametrize(
    "wrap", [*shipping.WRAPPERS, shipping.containerd_in_parts, shipping.docker_file_in_parts]
)
def test_an_event_is_found_in_what_a_shipper_puts_around_it(
    wrap: Callable[[str], str], tmp_path: Path
) -> None:
    """Each event is there for the audit and for those who read lines."""
    lines = lines_of(100, 1)
    path = tmp_path / "log"
    path.write_bytes(shipping.file_bytes(lines, wrap, mark=True, crlf=False))
    found = audited([path])
    (file,) = open_all([str(path)])
    texts = [line.text.decode() + "\n" for line in read_lines(file)]
    file.close()

    assert found.passed
    assert found.events == len(lines)
    assert texts == [text for _, text in lines]


def test_a_torn_line_behind_a_prefix_is_found(tmp_path: Path) -> None:
    """A prefix hides no damage, and a piece of an event is no prefix."""
    lines = lines_of(100, 1)
    lines[10] = (10, lines[10][1][:60] + "\n")
    lines[20] = (20, lines[20][1][:60] + lines[20][1])
    lines[30] = (30, lines[30][1][50:])
    path = tmp_path / "log"
    path.write_bytes(shipping.file_bytes(lines, shipping.compose, mark=False, crlf=True))
    found = audited([path])

    assert {line for kind, _, line in breaches(found) if kind == "torn line"} == {11, 21, 31}


def test_each_file_of_several_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    """The first line of each is an event like the others, also where files were joined."""
    lines = lines_of(100, 1)
    one, two, joined = tmp_path / "one", tmp_path / "two", tmp_path / "joined"
    one.write_bytes(shipping.file_bytes(lines[:40], shipping.plain, mark=True, crlf=False))
    two.write_bytes(shipping.file_bytes(lines[40:], shipping.plain, mark=True, crlf=False))
    joined.write_bytes(one.read_bytes() + two.read_bytes())

    for found in (audited([two, one]), audited([joined])):
        assert found.passed
        assert found.events == len(lines)


def test_logs_of_two_containers_may_follow_each_other_the_later_first(tmp_path: Path) -> None:
    """Where another daemon's log begins, time may be any."""
    first, second = lines_of(200, 1), lines_of(200, 1, seed=2)
    later = moved(second, "", "2027")
    found = audited([write(tmp_path / "log", later, first)])
    late = audited([write(tmp_path / "log", later, first[50:])])

    assert found.passed
    assert found.remark_counts == {}
    assert late.breach_counts == {}


def test_two_daemons_that_shared_a_file_are_told_apart_by_their_runs(tmp_path: Path) -> None:
    """Each stop is compared with its own sessions; that there were two is a remark."""
    shared = sorted([*lines_of(200, 1), *lines_of(300, 1, seed=2)], key=stamp)
    healthy = audited([write(tmp_path / "log", shared)])
    place = next(n for n, (_, text) in enumerate(shared) if '"reason":"eof"' in text)
    session = json.loads(shared.pop(place)[1])["session_id"]
    lossy = audited([write(tmp_path / "log", shared)])

    assert healthy.passed
    assert (healthy.runs, healthy.runs_compared) == (2, 2)
    assert healthy.remark_counts == {"several daemons in one log": 2}
    assert set(lossy.breach_counts) >= {"never closed", "total closed differs"}
    assert [f.text for f in lossy.breaches if f.kind == "never closed"] == [f"session {session}"]


def test_a_clock_that_was_set_back_is_a_remark(tmp_path: Path) -> None:
    """The durations are right: nothing was lost, and the line where it happened is named."""
    lines = lines_of(200, 1)
    step = stamp(lines[120])
    back = moved(lines, step, "2025")
    found = audited([write(tmp_path / "log", back)])

    assert found.passed
    assert [(f.kind, f.line) for f in found.remarks] == [("clock set back", 121)]


def test_a_small_step_of_the_clock_is_a_remark(tmp_path: Path) -> None:
    """NTP steps a clock by less than a second, also between two lines far apart."""
    lines = lines_of(200, 1)
    before = datetime.fromisoformat(stamp(lines[119]))
    early = (before - timedelta(milliseconds=300)).isoformat(timespec="microseconds")
    lines[120] = shipping.changed(lines[120], timestamp=early.replace("+00:00", "Z"))
    found = audited([write(tmp_path / "log", lines)])

    assert found.passed


def test_a_crashed_containers_log_is_not_still_open(tmp_path: Path) -> None:
    """Process 1 is always there: the next start in the same log ends the run before."""
    lines = lines_of(600, 3)
    with_pid_1 = [
        shipping.changed(line, pid=1) if "server.started" in line[1] else line for line in lines
    ]
    starts = [n for n, (_, text) in enumerate(with_pid_1) if "server.started" in text]
    crashed = [*with_pid_1[: starts[1] - 40], *with_pid_1[starts[1] : starts[2] - 40]]
    found = audited([write(tmp_path / "log", crashed, with_pid_1[starts[2] : -5])])
    states = {f.text.partition(": ")[2] for f in found.remarks}

    assert found.breach_counts == {}
    assert "its daemon ended without server.stopped" in states
    assert found.runs_not_compared == {"ended without server.stopped": 2, "may still run": 1}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "nothing: it is empty"),
        ("\n".join(text for _, text in lines_of(50, 1)).encode("utf-16"), "UTF-16 text"),
        ("\n".join(text for _, text in lines_of(50, 1)).encode("utf-16-le"), "UTF-16 text"),
        (b"\x04\x22\x4d\x18" + b"packed" * 50, "lz4-compressed data"),
        (b"PK\x03\x04" + b"packed" * 50, "a zip archive"),
        (b"Once upon a time\nthere was a log.\n", "2 lines of text that are no event"),
        (b"\n" * 2_000_000, "2,000,000 lines of text that are no event"),
        (bytes(range(128, 256)), "1 line of data that is not UTF-8"),
        (b"x" * 200_000, "1 line too long for an event"),
        (b'{"timestamp":"2026\n', "1 line that is a piece of events"),
    ],
)
def test_what_is_no_log_does_not_pass(data: bytes, what: str, tmp_path: Path) -> None:
    """An audit that saw no event says what it saw instead."""
    path = tmp_path / "log"
    path.write_bytes(data)
    found = audited([path])

    assert not found.passed
    assert what in found.nothing


def test_both_files_are_read_where_one_is_no_log(tmp_path: Path) -> None:
    """Prose beside a log is a remark, and hides nothing of it."""
    (tmp_path / "prose").write_text("Once upon a time\n")
    found = audited([tmp_path / "prose", write(tmp_path / "log", lines_of(100, 1))])

    assert found.passed
    assert found.remark_counts == {"foreign line": 1}


def test_bytes_that_were_never_taken_back_are_in_the_verdict(tmp_path: Path) -> None:
    """A stuck reader's bytes are counted, and the session is named."""
    lines = lines_of(100, 1)
    place = next(n for n, (_, text) in enumerate(lines) if '"reason":"eof"' in text)
    fields = json.loads(lines[place][1])
    taken = fields["received_bytes"]
    lines[place] = shipping.changed(
        lines[place], reason="write_timeout", received_bytes=taken + 19_244
    )
    stop = json.loads(lines[-1][1])
    lines[-1] = shipping.changed(lines[-1], received_bytes=stop["received_bytes"] + 19_244)
    found = audited([write(tmp_path / "log", lines)])
    stuck = {"session_id": fields["session_id"], "peer_ip": fields["peer_ip"]}

    assert found.passed
    assert {**stuck, "reason": "write_timeout", "bytes": 19_244} in found.untaken


class Endless(io.RawIOBase):
    """A stream that gives the same bytes for ever."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        """Return as many as are asked for."""
        return (self._data * (size // len(self._data) + 1))[:size]

    read1 = read


@pytest.mark.parametrize("data", [b"\0", b"\n", b'"\n', b'{"a":1}\n'])
def test_a_file_without_an_event_is_not_read_for_ever(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never ends is read up to a bound, and reported; the next file is read all the same."""
    monkeypatch.setattr("echo.logs.reader.NOISE_BYTES", 20_000_000)
    monkeypatch.setattr("echo.logs.reader.NOISE_LINES", 20_000)
    endless = LogFile("endless", "endless", Endless(data))  # type: ignore[arg-type]
    (_, text), *_ = lines_of(100, 1)
    sound = LogFile("sound", "sound", io.BytesIO(text.encode()))
    with LogDatabase([endless, sound]) as database:
        found = database.row("SELECT count(*) FROM events")
        place = database.lines.place(database.lines.rows - 1)

    assert "not read further" in endless.problem
    assert found == (1,)
    assert place == ("sound", 1)


def test_lines_behind_a_block_of_noise_keep_their_numbers(tmp_path: Path) -> None:
    """Noise that is skipped as a whole is counted line by line all the same."""
    lines = lines_of(100, 1)
    lines[50] = (50, lines[50][1][:60] + "\n")
    noise = [(-1, "noise" * 20 + "\n")] * 30_000
    found = audited([write(tmp_path / "log", lines[:50], noise, lines[50:])])

    assert ("torn line", "log", 30_051) in breaches(found)
    assert found.remark_counts["foreign line"] == 30_000


def test_several_pipes_and_files_are_ordered_by_their_times(tmp_path: Path) -> None:
    """What can't be rewound is looked into and read all the same."""
    lines = lines_of(100, 1)
    (tmp_path / "old").write_text("".join(text for _, text in lines[:50]))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(text for _, text in lines[50:])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_text, text)
        found = audited([pipe, tmp_path / "old"])
        writing.result()

    assert found.passed
    assert found.events == len(lines)


def test_zstandard_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.14 it is an extra's."""
    path = tmp_path / "log.zst"
    path.write_bytes(shipping.zstd(b"x"))
    for module in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    (file,) = open_all([str(path)])
    file.close()

    assert "pip install 'echo-daemon[logs]'" in file.problem


def test_a_stop_without_anything_else_of_its_run_is_not_compared(tmp_path: Path) -> None:
    """The rest is in a file that is not here, or its clock was changed."""
    lines = lines_of(200, 2)
    stop = next(n for n, (_, text) in enumerate(lines) if "server.stopped" in text)
    late = audited([write(tmp_path / "log", lines[stop:])])
    odd = shipping.changed(lines[stop], accepted=1, uptime_s=1e8)
    clock = audited([write(tmp_path / "log", lines[:stop], [odd], lines[stop + 1 :])])
    assert [found.breach_counts for found in (late, clock)] == [{}, {}]
    assert [found.remark_counts["totals not compared"] for found in (late, clock)] == [1, 1]
    assert "the clock was changed" in " ".join(clock.runs_not_compared)


def test_an_event_without_a_daemon_has_a_verdict(tmp_path: Path) -> None:
    """A piece of a log may hold a refusal only."""
    refusal = next(line for line in lines_of(5000, 1) if "session.refused" in line[1])
    found = audited([write(tmp_path / "log", [refusal])])

    assert words.verdict(found) == [
        "No promise is broken.",
        "None of 0 sessions ended cleanly.",
    ]


@pytest.mark.parametrize("line", ['{"log": torn', '{"MESSAGE":null}', '{"message":5}'])
def test_an_object_that_holds_no_line_is_foreign(line: str, tmp_path: Path) -> None:
    """What is not an envelope is a line of another program."""
    lines = lines_of(100, 1)
    found = audited([write(tmp_path / "log", lines[:50], [(-1, line + "\n")], lines[50:])])

    assert found.passed
    assert found.remark_counts == {"foreign line": 1}


def test_only_so_many_steps_of_a_clock_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile log can't make the audit ask for ever: the others are remarks."""
    # In the module that `audit` is from: other tests import the package anew.
    monkeypatch.setitem(audit.__globals__, "_MOST_STEPS", 0)
    lines = lines_of(200, 1)
    lines[100] = shipping.changed(lines[100], timestamp="2026-01-01T00:00:00.000000Z")
    found = audited([write(tmp_path / "log", lines)])

    assert found.remark_counts == {"clock set back": 1}
