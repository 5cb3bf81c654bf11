"""The fifth promise: nothing that goes wrong with the log stops or slows a session."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from echo.limits import LOG_FIELD_CHARS
from echo.logs import sinks, writer
from echo.logs.eventlog import EventLog
from echo.logs.lines import render, stamp
from echo.logs.sinks import FileSink, StreamSink, TerminalSink
from echo.logs.writer import LogWriter
from tests import vocabulary
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Memory:
    """A sink in memory that can take only a part, fail, or block."""

    def __init__(self) -> None:
        self.data = b""
        self.room = 10**9  # bytes that it still takes
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()  # the writer has come with its first batch
        self.reopened: list[bytes] = []
        self.closed = False

    def wait_until_asked(self) -> None:
        """Wait until the writer has taken the first lines off its queue."""
        assert self.asked.wait(seconds(60))

    def write(self, lines: bytes) -> int:
        """Take what there is room for."""
        self.asked.set()
        self.gate.wait(seconds(60))
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = lines[: self.room]
        self.room -= len(taken)  # before the data, upon which a test may make room again
        self.data += taken
        return len(taken)

    def reopen(self) -> bool:
        """Begin anew."""
        self.reopened.append(self.data)
        self.data = b""
        return True

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed write be tried again soon."""
    monkeypatch.setattr(writer, "RETRY_PAUSE", 0.02)


def test_lines_are_written_in_order() -> None:
    """Lines of one thread stay in their order, and all are there at the end."""
    sink = Memory()
    log = LogWriter(sink)
    lines = [b"%d\n" % number for number in range(50_000)]
    for line in lines:
        log.put(line)

    assert log.close(seconds(60))
    assert sink.data == b"".join(lines)
    assert sink.closed
    assert repr(log) == "<LogWriter 0 bytes queued, 0 lines dropped>"


def test_what_finds_no_room_is_counted_where_it_is_missing() -> None:
    """A full queue drops new lines; their count comes as soon as there is room."""
    sink = Memory()
    sink.gate.clear()
    log = LogWriter(sink, capacity=100)
    log.put(b"first\n")
    sink.wait_until_asked()
    for _ in range(30):
        log.put(b"123456789\n")
    sink.gate.set()
    wait_until(lambda: sink.data.count(b"\n") == 12)
    log.put(b"last\n")
    log.close(seconds(60))
    lines = sink.data.splitlines()

    assert lines[0] == b"first"
    assert lines[1:11] == [b"123456789"] * 10
    assert json.loads(lines[11])["count"] == 20
    assert lines[12:] == [b"last"]
    assert log.dropped == 20


def test_a_gap_is_reported_with_the_next_line_that_fits() -> None:
    """The count comes right after it, in the order of the times, though the queue isn't empty."""
    sink = Memory()
    sink.gate.clear()
    log = LogWriter(sink, capacity=300)
    log.put(b"taken\n")
    sink.wait_until_asked()
    log.put(bytes(290) + b"\n")
    log.put(b"does not fit\n")
    log.put(b"fits\n")
    sink.gate.set()
    log.close(seconds(60))
    lines = sink.data.splitlines()

    assert [line[:1] for line in lines] == [b"t", b"\0", b"f", b"{"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("room", [0, 1, 5, 6, 7, 11, 12])
def test_a_write_that_fails_halfway_goes_on_where_it_stopped(room: int) -> None:
    """A full disk tears no line: when there is room again, the rest of it comes first."""
    sink = Memory()
    sink.room = room
    log = LogWriter(sink)
    log.put(b"first\n")
    log.put(b"second\n")
    wait_until(lambda: len(sink.data) == room)
    sink.room = 10**9
    log.put(b"third\n")

    assert log.close(seconds(60))
    assert sink.data == b"first\nsecond\nthird\n"


def test_a_sink_that_never_recovers_doesn_t_keep_the_writer() -> None:
    """What can't be written by the end is counted as lost."""
    sink = Memory()
    sink.room = 3
    log = LogWriter(sink)
    log.put(b"first\n")
    log.put(b"second\n")
    wait_until(lambda: sink.data == b"fir")

    assert not log.close(seconds(60))
    assert log.dropped == 2
    assert sink.closed


def test_a_sink_that_blocks_doesn_t_keep_the_end() -> None:
    """A stalled pipe costs its lines, and the time that `close` was given."""
    sink = Memory()
    sink.gate.clear()
    log = LogWriter(sink)
    log.put(b"first\n")
    sink.wait_until_asked()
    log.put(b"second\n")

    assert not log.close(0.01)
    assert log.dropped == 2
    sink.gate.set()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [OSError("x"), RuntimeError("x"), MemoryError()])
def test_nothing_but_its_close_ends_the_thread(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a sink raises, lines wait until it works again, and HUP is answered."""
    sink = Memory()
    log = LogWriter(sink)
    tried = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(sink, "write", raising(error))
        patch.setattr(sink, "reopen", raising(error, tried))
        log.put(b"first\n")
        log.reopen(Path("new"))
        tried.wait(seconds(60))
    log.put(b"second\n")
    log.reopen(Path("new"))
    wait_until(lambda: sink.reopened)
    alive = log.thread.is_alive()
    written = log.close(seconds(60))
    first, *others = sink.reopened[0].splitlines()
    others.remove(b"second")

    assert alive
    assert written
    assert first == b"first"
    assert [json.loads(line)["event"] for line in others] == ["server.error"]
    assert not log.thread.is_alive()


def raising(error: Exception, called: threading.Event | None = None) -> Any:
    """Return a function that raises, and sets an event when it is called."""

    def fail(*_: object) -> NoReturn:
        if called:
            called.set()
        raise error

    return fail


def test_reopening_comes_between_lines() -> None:
    """What was logged before goes to the old file, what comes after to the new one."""
    sink = Memory()
    log = LogWriter(sink)
    log.put(b"before\n")
    log.reopen(Path("new"))
    # The sink is open again a moment before that is queued as the new file's first line.
    wait_until(lambda: b"log.reopened" in sink.data)
    log.put(b"after\n")
    log.close(seconds(60))

    assert sink.reopened == [b"before\n"]
    assert json.loads(sink.data.splitlines()[0])["event"] == "log.reopened"
    assert sink.data.splitlines()[1] == b"after"


def test_reopening_at_the_very_end_is_still_done() -> None:
    """A reopening that was asked for just before the end happens before the end."""
    sink = Memory()
    sink.gate.clear()
    log = LogWriter(sink)
    log.put(b"before\n")
    sink.wait_until_asked()
    log.reopen(Path("new"))
    log.close(0)
    sink.gate.set()
    wait_until(lambda: b"log.reopened" in sink.data)

    assert sink.reopened == [b"before\n"]


def test_reopening_on_a_full_disk_leaves_no_half_line() -> None:
    """A line that was torn by a full disk is written anew in another file: none is lost."""
    sink = Memory()
    sink.room = 8
    log = LogWriter(sink)
    log.put(b"first\n")
    log.put(b"second\n")
    log.put(b"third\n")
    wait_until(lambda: sink.data == b"first\nse")
    reopen = sink.reopen

    def reopen_on_another_disk() -> bool:
        sink.room = 10**9
        return reopen()

    sink.reopen = reopen_on_another_disk  # type: ignore[method-assign]
    log.reopen(Path("new"))
    wait_until(lambda: sink.reopened)
    log.close(seconds(60))

    assert sink.data.startswith(b"second\nthird\n")
    assert log.dropped == 0


def test_reopening_the_same_file_goes_on_in_the_middle_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HUP without a rename, while a full disk has torn a line: the same file gets its end."""
    path = tmp_path / "log"
    log = LogWriter(FileSink(path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(8).write)
        log.put(b"first\n")
        log.put(b"second\n")
        wait_until(lambda: path.read_bytes() == b"first\nse")
    log.reopen(path)
    wait_until(lambda: b"log.reopened" in path.read_bytes())
    log.close(seconds(60))

    assert path.read_bytes().startswith(b"first\nsecond\n{")


class FullDisk:
    """What `os.write` is on a disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        """Write what there is room for."""
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, data[: self._room])
        self._room -= written
        return written


def test_a_log_that_can_t_be_reopened_says_so_in_the_old_one(tmp_path: Path) -> None:
    """When the new file can't be had, the old one goes on, with the reason in it."""
    path = tmp_path / "folder" / "log"
    log = LogWriter(FileSink(path))
    moved = path.rename(tmp_path / "moved")
    path.parent.rmdir()
    path.parent.write_bytes(b"a file in the folder's place")
    log.reopen(path)
    wait_until(moved.read_bytes)
    log.close(seconds(60))
    (line,) = vocabulary.parse(moved.read_bytes())

    assert (line["event"], line["where"]) == ("server.error", "log")


# -- sinks --------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def write_all(sink: FileSink, lines: bytes) -> None:
    """Write lines until all of them are written."""
    while lines:
        lines = lines[sink.write(lines) :]


def test_a_file_rotates_between_lines(tmp_path: Path) -> None:
    """No file exceeds its size, no line is torn or lost, the oldest file goes."""
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=100, keep=2)
    lines = [b"line %02d\n" % number for number in range(40)]  # 8 bytes each, 12 a file
    write_all(sink, b"".join(lines[:30]))
    for line in lines[30:]:
        write_all(sink, line)
    sink.close()

    assert names(tmp_path) == ["log", "log.1", "log.2"]
    assert path.read_bytes() == b"".join(lines[36:])
    assert (tmp_path / "log.1").read_bytes() == b"".join(lines[24:36])
    assert (tmp_path / "log.2").read_bytes() == b"".join(lines[12:24])


def test_a_file_that_keeps_none_begins_again(tmp_path: Path) -> None:
    """With nothing to keep, a full file is begun anew."""
    sink = FileSink(tmp_path / "log", max_bytes=10, keep=0)
    write_all(sink, b"first...\nsecond..\n")
    sink.close()

    assert (tmp_path / "log").read_bytes() == b"second..\n"
    assert names(tmp_path) == ["log"]


def test_a_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    """A line is never torn, even where it is too long."""
    sink = FileSink(tmp_path / "log", max_bytes=10, keep=5)
    write_all(sink, b"short\n" + b"x" * 50 + b"\nshort\n")
    sink.close()

    assert (tmp_path / "log.2").read_bytes() == b"short\n"
    assert (tmp_path / "log.1").read_bytes() == b"x" * 50 + b"\n"


def test_a_file_that_somebody_else_moved_is_not_moved_again(tmp_path: Path) -> None:
    """A rotation leaves alone what has taken the file's place."""
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=10)
    sink.write(b"first...\n")
    path.rename(tmp_path / "moved")
    path.write_bytes(b"other\n")
    sink.write(b"second..\n")
    sink.close()

    assert path.read_bytes() == b"other\nsecond..\n"
    assert not (tmp_path / "log.1").exists()


def test_a_rotation_makes_the_folder_again(tmp_path: Path) -> None:
    """When the folder was taken away, the next rotation makes it, and a file in it."""
    path = tmp_path / "folder" / "log"
    sink = FileSink(path, max_bytes=10)
    sink.write(b"first...\n")
    moved = path.rename(tmp_path / "moved")
    path.parent.rmdir()
    sink.write(b"second..\n")
    sink.close()

    assert moved.read_bytes() == b"first...\n"
    assert path.read_bytes() == b"second..\n"


def test_a_rotation_that_fails_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    """While no new file can be had the old one grows beyond its size."""
    path = tmp_path / "folder" / "log"
    sink = FileSink(path, max_bytes=20)
    sink.write(b"first...\n")
    moved = path.rename(tmp_path / "moved")
    path.parent.rmdir()
    path.parent.write_bytes(b"a file in the folder's place")
    write_all(sink, b"second..\nthird...\nfourth..\n")
    path.parent.unlink()
    sink.write(b"fifth...\n")
    sink.close()

    assert moved.read_bytes() == b"first...\nsecond..\nthird...\nfourth..\n"
    assert path.read_bytes() == b"fifth...\n"


def test_a_rotation_that_failed_halfway_moves_nothing_twice(tmp_path: Path) -> None:
    """However often the newest file can't be moved, no older one falls off the end."""
    path = tmp_path / "log"
    for number in range(4):
        Path(f"{path}.{number}" if number else path).write_bytes(b"%d: full\n" % number)
    sink = FileSink(path, max_bytes=10, keep=3)
    blocked = tmp_path / "log.1"
    blocked.unlink()
    blocked.mkdir()  # nothing can be moved here
    (blocked / "x").touch()
    for _ in range(2):
        sink.write(b"more....\n")
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            sink.write(b"too much\n")
    sink.close()

    assert (tmp_path / "log.2").is_dir()
    assert (tmp_path / "log.3").read_bytes() == b"2: full\n"


@pytest.mark.parametrize("in_the_way", ["folder", "pipe", "locked"])
def test_a_file_has_a_bound_while_its_name_is_taken(tmp_path: Path, in_the_way: str) -> None:
    """It grows to twice its size at most, then refuses lines, until the name is free again."""
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=20)
    moved = path.rename(tmp_path / "moved")
    other = None
    if in_the_way == "locked":
        other = FileSink(path)
    else:
        (path.mkdir if in_the_way == "folder" else partial(os.mkfifo, path))()
    for _ in range(4):
        sink.write(b"a line...\n")
    with pytest.raises(OSError, match=r"directory|device|pid"):
        sink.write(b"too much.\n")
    if other:
        other.close()
    path.rename(tmp_path / "away")
    sink.write(b"last line\n")
    sink.close()

    assert moved.read_bytes() == b"a line...\n" * 4
    assert path.read_bytes() == b"last line\n"


def test_the_target_of_a_link_rotates(tmp_path: Path) -> None:
    """The link stays a link, whether its target was there before or is made by the log."""
    target, link = tmp_path / "disk" / "log", tmp_path / "link"
    link.symlink_to(target)
    for _ in range(2):
        sink = FileSink(link, max_bytes=10)
        write_all(sink, b"first...\nsecond..\n")
        sink.close()

    assert link.readlink() == target
    assert names(target.parent) == ["log", "log.1", "log.2", "log.3"]
    assert names(tmp_path) == ["disk", "link"]


def test_a_link_that_points_elsewhere_is_followed(tmp_path: Path) -> None:
    """Opened again, the log goes on in the link's new target, and rotates there."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "old")
    sink = FileSink(link, max_bytes=10)
    sink.write(b"first...\n")
    link.unlink()
    link.symlink_to(tmp_path / "new")
    again = [sink.reopen(), sink.reopen()]
    write_all(sink, b"second..\nthird...\n")
    sink.close()

    assert again == [True, False]
    assert names(tmp_path) == ["link", "new", "new.1", "old"]
    assert (tmp_path / "new").read_bytes() == b"third...\n"


def test_one_file_has_one_writer(tmp_path: Path) -> None:
    """A second one is refused, by whatever name; it may have the file after a rotation or close."""
    path, link = tmp_path / "log", tmp_path / "link"
    sink = FileSink(path, max_bytes=10)
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(OSError, match=f"the process with pid {os.getpid()} writes to it"):
            FileSink(name)
    write_all(sink, b"first...\nsecond..\n")
    with pytest.raises(OSError, match="writes to it"):
        FileSink(path)
    FileSink(tmp_path / "log.1").close()
    sink.close()
    FileSink(path).close()


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where flock isn't possible the log is written all the same."""
    monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.ENOLCK, "No locks available")))
    sink = FileSink(tmp_path / "log")
    sink.write(b"a line\n")
    sink.close()

    assert (tmp_path / "log").read_bytes() == b"a line\n"


def test_a_file_that_its_writer_moves_at_that_moment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened just before another process rotated it, locked just after: it isn't the log."""
    path = tmp_path / "log"
    monkeypatch.setattr(fcntl, "flock", lambda *_: path.rename(tmp_path / "log.1"))

    with pytest.raises(OSError, match="it was moved"):
        FileSink(path)


def test_a_system_that_doesn_t_tell_who_has_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc/locks the reason names no pid."""
    sink = FileSink(tmp_path / "log")
    monkeypatch.setattr(sinks, "LOCKS", tmp_path / "none")
    with pytest.raises(OSError, match="another process writes to it"):
        FileSink(tmp_path / "log")
    sink.close()


def test_half_a_line_stays_in_the_file_of_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that a full disk has torn is ended before the file rotates."""
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(8).write)
        taken = sink.write(b"first...line\n")
    write_all(sink, b"line\nsecond..\n")
    sink.close()

    assert taken == 8
    assert (tmp_path / "log.1").read_bytes() == b"first...line\n"
    assert path.read_bytes() == b"second..\n"


@pytest.mark.parametrize("max_bytes", [0, 1000])
def test_half_a_line_of_a_crash_is_ended(tmp_path: Path, max_bytes: int) -> None:
    """What a killed daemon left unfinished doesn't swallow the first line of the next one."""
    path = tmp_path / "log"
    path.write_bytes(b'whole\n{"torn')
    for _ in range(2):
        sink = FileSink(path, max_bytes)
        sink.write(b"next\n")
        sink.close()

    assert path.read_bytes() == b'whole\n{"torn\nnext\nnext\n'


def test_a_pipe_is_a_log_that_doesn_t_rotate(tmp_path: Path) -> None:
    """A named pipe is written like a file, and without a reader it is an error, not a wait."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        FileSink(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(path, max_bytes=10)
    sink.write(b"much more than ten\n" * 3)
    data = os.read(reader, 1000)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        sink.write(b"nobody reads\n")
    sink.close()

    assert data == b"much more than ten\n" * 3
    assert repr(sink) == f"<FileSink {path}>"


def test_a_terminal_shows_what_it_can(tmp_path: Path) -> None:
    """A terminal gets readable lines in its own encoding, and its end is no error."""
    path = tmp_path / "screen"
    with path.open("w", encoding="ascii") as stream:
        sink = TerminalSink(stream)
        sink.write('{"event":"hello","name":"Zoë"}\n'.encode())
        sink.reopen()
        sink.close()
    with path.open("r", encoding="ascii") as stream:
        TerminalSink(stream).write(b"not writable\n")

    assert b"Zo\\xeb" in path.read_bytes()
    assert b"\x1b[" in path.read_bytes()


def test_a_stream_is_somebody_else_s_to_close() -> None:
    """Standard output stays open."""
    reader, pipe = os.pipe()
    sink = StreamSink(pipe)
    sink.reopen()
    sink.write(b"x\n")
    sink.close()
    os.write(pipe, b"y\n")

    assert os.read(reader, 10) == b"x\ny\n"
    os.close(pipe)
    os.close(reader)


# -- events -------------------------------------------------------------------------------


@pytest.fixture
def event_log() -> Iterator[tuple[EventLog, Memory]]:
    """Return an event log in memory; structlog is itself again afterwards."""
    sink = Memory()
    log = EventLog(LogWriter(sink), level="info")
    yield log, sink
    structlog.reset_defaults()


def logged(log: EventLog, sink: Memory) -> list[dict[str, Any]]:
    """Close a log, and give its lines."""
    log.close(seconds(60))
    return vocabulary.parse(sink.data)


def test_structlog_ends_in_lines(event_log: tuple[EventLog, Memory]) -> None:
    """Events from the level on become lines, with a time, a level and their fields in order."""
    log, sink = event_log
    logger = log.configure()
    logger.debug("session.data", bytes=1)
    logger.info("session.closed", reason="eof")
    log.level = "debug"
    logger.debug("session.data", bytes=2)
    log.reopen()  # it has no file
    lines = logged(log, sink)

    assert [list(line) for line in lines] == [
        ["timestamp", "level", "event", "reason"],
        ["timestamp", "level", "event", "bytes"],
    ]
    assert lines[1]["bytes"] == 2
    assert repr(log) == "<EventLog debug, 0 lines dropped>"


def test_it_is_structlog_as_its_users_know_it(event_log: tuple[EventLog, Memory]) -> None:
    """Processors of one's own, context variables, `exception` and `capture_logs` work."""
    log, sink = event_log

    def add_site(_: object, __: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "site": "here"}

    logger = log.configure(add_site)
    with structlog.contextvars.bound_contextvars(request="r1"):
        structlog.get_logger().info("x", n=1)
    with structlog.testing.capture_logs() as captured:
        logger.info("captured")
    try:
        raise ValueError("no good")
    except ValueError:
        logger.bind(bound=1).exception("y")
    logger.critical("z")
    first, second, third = logged(log, sink)

    assert list(first) == ["timestamp", "level", "event", "n", "request", "site"]
    assert captured == [{"event": "captured", "log_level": "info"}]
    assert (second["level"], second["bound"]) == ("error", 1)
    assert second["exception"].endswith("ValueError: no good")
    assert (third["level"], third["event"]) == ("critical", "z")


def test_nothing_follows_the_daemon_s_last_line(event_log: tuple[EventLog, Memory]) -> None:
    """A log that a HUP opens anew at that moment, a gap and later events are no line after it."""
    log, sink = event_log
    log.path = Path("new")
    logger = log.configure()
    sink.gate.clear()
    logger.info("taken")
    wait_until(lambda: not log.queue_length, what="the writer took it")
    log.reopen()
    while not log.dropped:
        logger.info("x", text="x" * 1000)
    logger.info("server.stopped")
    logger.error("server.error")
    sink.gate.set()
    new = logged(log, sink)
    (old,) = sink.reopened
    names = [line["event"] for line in [*vocabulary.parse(old), *new]]

    assert names[-2:] == ["log.dropped", "server.stopped"]
    assert "log.reopened" not in names


def test_an_event_that_a_processor_fails_on_is_a_dropped_line(
    event_log: tuple[EventLog, Memory],
) -> None:
    """Its caller gets the exception; the log says that a line is missing there."""
    log, sink = event_log

    def fail(_: object, __: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "share": 1 / fields["n"]}

    logger = log.configure(fail)
    with pytest.raises(ZeroDivisionError):
        logger.info("x", n=0)
    dropped = log.dropped
    logger.info("y", n=1)
    first, second = logged(log, sink)

    assert dropped == 1
    assert first["event"] == "y"
    assert (second["event"], second["count"]) == ("log.dropped", 1)


def test_an_event_that_is_no_text_is_bounded_too() -> None:
    """A list in the place of the event's name is left out where it has no room."""
    line = render(stamp(None, "info", {"level": "info", "event": ["long"] * 10_000}))

    assert list(json.loads(line)) == ["timestamp", "level"]


def test_an_event_that_no_shortening_bounds_keeps_its_head(
    event_log: tuple[EventLog, Memory],
) -> None:
    """A thousand fields: time, level and event are what a line has room for."""
    log, sink = event_log
    log.configure().info("x", **{f"field {n}": n for n in range(1000)})
    (line,) = logged(log, sink)

    assert list(line) == ["timestamp", "level", "event"]


def test_its_threads_are_shown(event_log: tuple[EventLog, Memory]) -> None:
    """Each writer has one thread, which lives until the log is closed."""
    log, _ = event_log
    (thread,) = log.threads
    before = thread.is_alive()
    log.close(seconds(60))

    assert (before, thread.is_alive()) == (True, False)


def test_the_lines_are_in_the_order_of_their_times(event_log: tuple[EventLog, Memory]) -> None:
    """However many threads log, time never runs backwards in the file."""
    log, sink = event_log
    logger = log.configure()
    threads = [
        threading.Thread(target=lambda: [logger.info("x", n=n) for n in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [line["timestamp"] for line in logged(log, sink)]

    assert len(times) == 4000
    assert times == sorted(times)


@given(
    fields=st.dictionaries(
        st.text(max_size=20).filter(lambda name: name not in {"timestamp", "level", "event"}),
        st.one_of(
            st.text(st.characters(), max_size=100),
            st.text(st.characters(categories=["Cs", "Cc", "Zl"]), max_size=20),
            st.integers(),
            st.floats(),
            st.binary(max_size=20),
            st.none(),
        ),
        max_size=5,
    )
)
def test_whatever_is_logged_is_one_strict_line(fields: dict[str, Any]) -> None:
    """Newlines, forged JSON, lone surrogates, huge numbers: one line out for each event in."""
    line = render(stamp(None, "info", {"level": "info", "event": "x", **fields}))

    assert line.count(b"\n") == 1
    (parsed,) = vocabulary.parse(line)
    assert list(parsed)[:3] == ["timestamp", "level", "event"]


def test_a_long_field_keeps_its_end(event_log: tuple[EventLog, Memory]) -> None:
    """A field is bounded, and of a traceback its end is what matters."""
    log, sink = event_log
    log.configure().error("server.error", exception="x" * 100_000 + "the end")
    (line,) = logged(log, sink)

    assert len(line["exception"]) <= LOG_FIELD_CHARS + 2
    assert line["exception"].endswith("the end")
