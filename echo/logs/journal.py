"""Reading logs back into tables: whatever stands in them, of any size, in bounded memory."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb

from echo.limits import MIB
from echo.logs import tables
from echo.logs.feed import Feed
from echo.logs.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from echo.logs.files import LogFile

T = TypeVar("T")

# What the tables may take of the memory; beyond it they go to a file of the system's
# temporary folder, until that has this size. A million events are about 200 MB.
MEMORY_BYTES = 256 * MIB
SPILL_BYTES = 32 * 1024 * MIB
# Bytes that are written to a file for DuckDB to read, while the next are written to another one.
PIECE_BYTES = 32 * MIB


class Journal:
    """Log files as tables of a DuckDB database that can't reach anything else.

    `events` has a row for each event that `wanted` lets through, `sessions` one for each of
    their sessions; `lines`, `chosen`, `runs`, `files` and `all_sessions` are for this wing's
    own use. `feed.place` tells the file and the line of a row. `columns` are the fields that the
    events have, those that figures and promises need among them; `tables.TEXT` is the line
    itself, which a field that the vocabulary lacks can be taken from.

    Lives until the end of its `with` block, and closes the files when they have been read.
    Raises `duckdb.Error` or `OSError` when the disk has no room for what the memory doesn't take.

    >>> from echo.logs.files import open_all
    >>> with Journal(open_all([])) as journal:
    ...     journal.row("SELECT count(*) FROM events")
    (0,)
    """

    def __init__(
        self,
        files: Sequence[LogFile],
        wanted: Filter | None = None,
        columns: Sequence[str] = tables.NEEDED,
    ) -> None:
        self.files = files
        self.wanted = wanted or Filter()
        self.columns = columns
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<Journal of {len(self.files)} files>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="echod-logs-"))
            self.database = stack.enter_context(duckdb.connect(":memory:", config=_config(folder)))
            self._worker = stack.enter_context(ThreadPoolExecutor(max_workers=1))
            for setting in _SETTINGS:
                self.execute(f"SET {setting}")
            self._load(Path(folder))
            self._relate()
            self._choose()
            self._lock()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """Change something."""
        self.call(lambda: self.database.execute(sql, values))

    def rows(self, sql: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Give all rows of an answer."""
        return self.call(lambda: self.database.execute(sql, values).fetchall())

    def row(self, sql: str, values: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Give the one row of an answer."""
        (row,) = self.rows(sql, values)
        return row

    def fill(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Put rows into a table."""
        if rows:
            places = ", ".join("?" * len(rows[0]))
            insert = f"INSERT INTO {table} VALUES ({places})"
            self.call(lambda: self.database.executemany(insert, rows))

    def call(self, work: Callable[[], T]) -> T:
        """Let another thread work with the database, and wait for it.

        INT is heard here, while within DuckDB one may get lost. It ends the work.
        """
        return self._result(self._worker.submit(work))

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # one call may come before the question has begun
                self.database.interrupt()
                wait([future], timeout=0.05)
            raise

    # -- from files to tables -----------------------------------------------------------

    def _load(self, folder: Path) -> None:
        """Let DuckDB parse the lines, as many at a time as fit into a file."""
        self.feed = Feed(self.files)
        self.execute(tables.create_lines(self.columns))
        insert = tables.insert_lines(self.columns)
        blocks = self.feed.blocks()
        parsing: Future[Any] = self._worker.submit(int)  # nothing yet
        pieces = cycle((folder / "one", folder / "other"))
        while _fill(piece := next(pieces), blocks):
            self._result(parsing)
            parsing = self._worker.submit(self.database.execute, insert, [str(piece)])
        self._result(parsing)
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
        self.execute(
            "CREATE TABLE files (name VARCHAR, log VARCHAR, first_row BIGINT, last_row BIGINT)"
        )
        self.fill("files", rows)
        self.execute(
            "CREATE TABLE logs AS SELECT log, min(first_row) AS first_row, "
            "max(last_row) AS last_row FROM files GROUP BY log"
        )
        self.execute(tables.CREATE_RUNS)
        for run, pid in self.rows("SELECT run, pid FROM runs WHERE state IS NULL"):
            state = "running" if _may_run(pid) else "crashed"
            self.execute("UPDATE runs SET state = ? WHERE run = ?", [state, run])
        self.execute(tables.CREATE_SESSIONS)

    def _choose(self) -> None:
        """Make the views, in which only what is wanted is left."""
        if self.wanted.peers:
            self._find_peers()
        since, until = _plain(self.wanted.since), _plain(self.wanted.until)
        conditions = _conditions(self.wanted)
        self.execute(tables.create_views(conditions, since, until, self.columns))

    def _find_peers(self) -> None:
        self.execute("CREATE TABLE wanted_peers (peer_ip VARCHAR)")
        known = self.rows("SELECT DISTINCT peer_ip FROM lines WHERE peer_ip IS NOT NULL")
        found = [row for row in known if self.wanted.has_peer(row[0])]
        self.fill("wanted_peers", found)

    def _lock(self) -> None:
        """Let no SQL read a file, load an extension, or unlock this."""
        self.execute("SET enable_external_access = false")
        self.execute("SET lock_configuration = true")


# The times are UTC; a bar of progress would stand in the middle of the output; to find a line's
# run among a few, a loop is quicker than sorting all lines.
_SETTINGS = (
    *("TimeZone = 'UTC'", "enable_progress_bar = false"),
    "nested_loop_join_threshold = 1000",
)


def _config(folder: str) -> dict[str, Any]:
    return {
        "memory_limit": f"{MEMORY_BYTES}B",
        "temp_directory": folder,
        "max_temp_directory_size": f"{SPILL_BYTES}B",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }


def _fill(piece: Path, blocks: Iterator[bytes]) -> int:
    """Write what comes next to a file, and give its size."""
    with piece.open("wb") as stream:
        for block in blocks:
            if stream.write(block) and stream.tell() >= PIECE_BYTES:
                break
        return stream.tell()


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
        f"kind IS NULL AND coalesce(level, '') NOT IN ({_quoted(wanted.levels)})": wanted.levels,
    }
    return [condition for condition, given in found.items() if given]


def _quoted(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _plain(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=None).isoformat() if moment else None
