"""Reading logs back into tables: whatever stands in them, of any size, in bounded memory."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import duckdb

from echo.limits import MIB
from echo.logs import tables
from echo.logs.feed import Feed
from echo.logs.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from echo.logs.files import LogFile

# What the tables may take of the memory; beyond it they go to a file of the system's
# temporary folder, until that has this size. A million events are about 200 MB.
MEMORY_BYTES = 256 * MIB
SPILL_BYTES = 32 * 1024 * MIB
# Bytes that the pipe to DuckDB holds: an eighth of the wake-ups that the usual 64 KiB cost.
_PIPE_BYTES = 512 * 1024
_F_SETPIPE_SZ = 1031  # Linux, named in `fcntl` only since Python 3.10 there


class Journal:
    """Log files as tables of a DuckDB database that can't reach anything else.

    `events` has a row for each event that `wanted` lets through, `sessions` one for each of
    their sessions; `lines`, `chosen`, `runs`, `files` and `all_sessions` are for this wing's
    own use. `feed.place` tells the file and the line of a row. With `keep_text` the events
    have their `text`, which a field that the vocabulary lacks can be taken from.

    Lives until the end of its `with` block, and closes the files when they have been read.
    Raises `duckdb.Error` when the disk has no room for what the memory doesn't take.

    >>> from echo.logs.files import open_all
    >>> with Journal(open_all([])) as journal:
    ...     journal.row("SELECT count(*) FROM events")
    (0,)
    """

    def __init__(
        self, files: Sequence[LogFile], wanted: Filter | None = None, *, keep_text: bool = False
    ) -> None:
        self.files = files
        self.wanted = wanted or Filter()
        self.keep_text = keep_text
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<Journal of {len(self.files)} files>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="echod-logs-"))
            self.database = stack.enter_context(duckdb.connect(":memory:", config=_config(folder)))
            self.database.execute("SET TimeZone = 'UTC'")
            self._load()
            self._relate()
            self._choose()
            self._lock()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Give all rows of an answer."""
        return self.database.execute(sql, values or None).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Give the one row of an answer."""
        (row,) = self.rows(sql, values)
        return row

    # -- from files to tables -----------------------------------------------------------

    def _load(self) -> None:
        """Let a thread of Python feed the lines through a pipe to DuckDB, which parses them."""
        reader, pipe = os.pipe()
        _widen(pipe)
        with os.fdopen(pipe, "wb", buffering=0) as stream:
            self.feed = Feed(self.files, lambda data: _write(stream.fileno(), data))
            feeder = threading.Thread(target=self._feed, args=[stream], daemon=True)
            feeder.start()
            try:
                source = f"/dev/fd/{reader}"
                self.database.execute(tables.create_lines(source, keep_text=self.keep_text))
            finally:
                os.close(reader)
                feeder.join(timeout=1)

    def _feed(self, stream: Any) -> None:
        with suppress(BrokenPipeError), stream:  # broken where DuckDB has given up
            self.feed.run()
        for file in self.files:
            file.close()

    def _relate(self) -> None:
        """Make the tables that lines alone don't tell."""
        ends = [*self.feed.first_rows, self.feed.rows][1:]
        rows = [
            (file.name, file.log, first, end - 1)
            for file, first, end in zip(self.files, self.feed.first_rows, ends, strict=True)
            if end > first
        ]
        self.database.execute(
            "CREATE TABLE files (name VARCHAR, log VARCHAR, first_row BIGINT, last_row BIGINT)"
        )
        if rows:
            self.database.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", rows)
        self.database.execute(
            "CREATE TABLE logs AS SELECT log, min(first_row) AS first_row, "
            "max(last_row) AS last_row FROM files GROUP BY log"
        )
        self.database.execute(tables.CREATE_RUNS)
        for run, pid in self.rows("SELECT run, pid FROM runs WHERE state IS NULL"):
            state = "running" if _may_run(pid) else "crashed"
            self.database.execute("UPDATE runs SET state = ? WHERE run = ?", [state, run])
        self.database.execute(tables.CREATE_SESSIONS)

    def _choose(self) -> None:
        """Make the views, in which only what is wanted is left."""
        if self.wanted.peers:
            self._find_peers()
        since, until = _plain(self.wanted.since), _plain(self.wanted.until)
        conditions = _conditions(self.wanted)
        self.database.execute(
            tables.create_views(conditions, since, until, keep_text=self.keep_text)
        )

    def _find_peers(self) -> None:
        self.database.execute("CREATE TABLE wanted_peers (peer_ip VARCHAR)")
        known = self.rows("SELECT DISTINCT peer_ip FROM lines WHERE peer_ip IS NOT NULL")
        found = [row for row in known if self.wanted.has_peer(row[0])]
        if found:
            self.database.executemany("INSERT INTO wanted_peers VALUES (?)", found)

    def _lock(self) -> None:
        """Let no SQL read a file, load an extension, or unlock this."""
        self.database.execute("SET enable_external_access = false")
        self.database.execute("SET lock_configuration = true")


def _config(folder: str) -> dict[str, Any]:
    return {
        "memory_limit": f"{MEMORY_BYTES}B",
        "temp_directory": folder,
        "max_temp_directory_size": f"{SPILL_BYTES}B",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }


def _widen(pipe: int) -> None:
    with suppress(ImportError, OSError):  # not everywhere, and not for every user
        import fcntl

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _may_run(pid: int | None) -> bool:
    """Look whether a log without an end may still be written.

    Its process is looked for here; a log that doesn't begin with the daemon's start names none.
    """
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _conditions(wanted: Filter) -> list[str]:
    """Say in SQL what a filter wants.

    A line of a session counts as one of its peer and of the reason of its end, though only
    some of them name those.
    """
    session_of = "session_id IN (SELECT session_id FROM lines WHERE"
    peers, reasons = "peer_ip IN (FROM wanted_peers)", f"reason IN ({_quoted(wanted.reasons)})"
    found = {
        f"({peers} OR {session_of} {peers}))": wanted.peers,
        f"session_id IN ({_quoted(wanted.sessions)})": wanted.sessions,
        f"event IN ({_quoted(wanted.events)})": wanted.events,
        f"({reasons} OR {session_of} {reasons}))": wanted.reasons,
        f"level NOT IN ({_quoted(wanted.levels)})": wanted.levels,
    }
    return [condition for condition, given in found.items() if given]


def _quoted(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _plain(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=None).isoformat() if moment else None
