"""Logs as tables of a database: whatever stands in them, of any size, in bounded memory."""

from __future__ import annotations

import signal
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb

from echo.events import SESSION_CLOSED
from echo.limits import MIB
from echo.logs import tables
from echo.logs.filters import Filter
from echo.logs.reader import SanitizedLines
from echo.logs.runs import Run, RunStart, RunStop, match_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from echo.logs.files import LogFile

T = TypeVar("T")

# Memory that the tables may take; what is more goes to a file of the system's
# temporary folder, until that has this size. A million events are about 200 MB.
MEMORY_BYTES = 256 * MIB
SPILL_BYTES = 32 * 1024 * MIB
# Bytes that are written to a file for DuckDB to read, while the next are written to another one.
CHUNK_BYTES = 32 * MIB


class LogDatabase:
    """Log files as tables of a DuckDB database that can't reach anything else.

    `events` has a row for each event that `wanted` lets through, `sessions` one for each of
    their sessions; `lines`, `chosen`, `judged`, `figured`, `runs`, `files` and `all_sessions` are
    for this package's own use. `lines.place` returns the file and the line of a row. `runs` are the
    daemons. `columns` are the fields that the events have, those that figures and promises need
    among them; `tables.TEXT` is the event's text, which a field that the vocabulary lacks can be
    taken from.

    Lives until the end of its `with` block, and closes the files when they have been read.
    Raises `duckdb.Error` or `OSError` when the disk has no room for what the memory doesn't take.

    >>> with LogDatabase([]) as database:
    ...     database.row("SELECT count(*) FROM events")
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
        self.lines = SanitizedLines(files)
        self.runs: list[Run] = []
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<LogDatabase of {len(self.files)} files>"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(_temporary_folder())
            self.connection = stack.enter_context(
                duckdb.connect(":memory:", config=_config(folder))
            )
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
        # An answer that nobody reads to its end would be worked out to its end first.
        self.connection.interrupt()
        self._stack.close()

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """Change something."""
        self.call(lambda: self.connection.execute(sql, values))

    def rows(self, sql: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of an answer."""
        return self.call(lambda: self.connection.execute(sql, values).fetchall())

    def row(self, sql: str, values: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Return the one row of an answer."""
        (row,) = self.rows(sql, values)
        return row

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Put rows into a table; whole columns at a time, which is a hundred times as fast."""
        if columns := [list(column) for column in zip(*rows, strict=True)]:
            self.execute(
                f"INSERT INTO {table} SELECT {', '.join(['unnest(?)'] * len(columns))}", columns
            )

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
                self.connection.interrupt()
                wait([future], timeout=0.05)
            raise

    # -- from files to tables -----------------------------------------------------------

    def _load(self, folder: Path) -> None:
        """Let DuckDB parse the lines, as many at a time as fit into a file."""
        self.execute(tables.create_lines(self.columns))
        insert = tables.insert_lines(self.columns)
        blocks = self.lines.blocks()
        parsing: Future[Any] = self._worker.submit(int)  # nothing yet
        chunks = cycle((folder / "one", folder / "other"))
        while _write_chunk(chunk := next(chunks), blocks):
            self._result(parsing)
            parsing = self._worker.submit(self.connection.execute, insert, [str(chunk)])
        self._result(parsing)
        for file in self.files:
            file.close()

    def _relate(self) -> None:
        """Make the tables of files, runs and sessions."""
        pieces = self.lines.pieces
        ends = [*(piece.first_row for piece in pieces), self.lines.rows][1:]
        self.execute(
            "CREATE TABLE files (name VARCHAR, log VARCHAR, first_row BIGINT, last_row BIGINT,"
            " first_line BIGINT)"
        )
        self.fill(
            "files",
            [
                (piece.file.name, piece.file.log, piece.first_row, end - 1, piece.first_line)
                for piece, end in zip(pieces, ends, strict=True)
                if end > piece.first_row
            ],
        )
        self._find_runs()
        self.execute(tables.CREATE_SESSIONS)

    def _find_runs(self) -> None:
        log_of = self.lines.log_of
        starts = [RunStart(row, at, pid, log_of(row)) for row, at, pid in self.rows(tables.STARTS)]
        stops = [
            RunStop(row, at, uptime, refused, tuple(totals), log_of(row))
            for row, at, uptime, refused, *totals in self.rows(tables.STOPS)
        ]
        runs = [
            Run(run_id, first, last, first_at, last_at, tuple(sums), log_of(first))
            for run_id, first, last, first_at, last_at, *sums in self.rows(tables.RUN_IDS)
        ]
        self.runs = match_runs(starts, stops, runs)
        self.execute(tables.CREATE_RUNS)
        self.fill(
            "runs",
            [
                (
                    *(number, run.run_id, run.first_row, run.last_row, run.end_row),
                    *(run.started and run.started.row, run.stopped and run.stopped.row),
                    *(run.state, run.ended_at, run.shared),
                )
                for number, run in enumerate(self.runs, 1)
            ],
        )

    def _choose(self) -> None:
        """Make the views, in which only what is wanted is left."""
        if self.wanted.peers:
            self._find_peers()
        since, until = _plain(self.wanted.since), _plain(self.wanted.until)
        conditions = _conditions(self.wanted)
        judged = _conditions(replace(self.wanted, min_bytes=0))
        self.execute(tables.create_views(conditions, judged, since, until, self.columns))

    def _find_peers(self) -> None:
        self.execute("CREATE TABLE wanted_peers (peer_ip VARCHAR)")
        known = self.rows("SELECT DISTINCT peer_ip FROM lines WHERE peer_ip IS NOT NULL")
        self.fill("wanted_peers", [row for row in known if self.wanted.has_peer(row[0])])

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


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed at the end of its `with` block, or when it is garbage.

    An INT has to wait meanwhile: between the making and the note to remove it, it would leave the
    folder behind.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return tempfile.TemporaryDirectory(prefix="echod-logs-")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _config(folder: str) -> dict[str, Any]:
    return {
        "memory_limit": f"{MEMORY_BYTES}B",
        "temp_directory": folder,
        "max_temp_directory_size": f"{SPILL_BYTES}B",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }


def _write_chunk(chunk: Path, blocks: Iterator[bytes]) -> int:
    """Write what comes next to a file, and return its size."""
    with chunk.open("wb") as stream:
        for block in blocks:
            if stream.write(block) and stream.tell() >= CHUNK_BYTES:
                break
        return stream.tell()


def _conditions(wanted: Filter) -> list[str]:
    """Return in SQL what a filter wants of a line.

    A line of a session counts as one of its peer, though not each names it.
    """
    peers = "peer_ip IN (FROM wanted_peers)"
    small = (
        f"SELECT session_id FROM lines WHERE event = '{SESSION_CLOSED.name}'"
        f" AND received_bytes < {wanted.min_bytes} AND session_id IS NOT NULL"
    )
    found = {
        f"({peers} OR session_id IN (SELECT session_id FROM lines WHERE {peers}))": wanted.peers,
        f"session_id IN ({_quoted(wanted.sessions)})": wanted.sessions,
        f"event IN ({_quoted(wanted.events)})": wanted.events,
        f"reason IN ({_quoted(wanted.reasons)})": wanted.reasons,
        f"kind IS NULL AND coalesce(level, '') NOT IN ({_quoted(wanted.levels)})": wanted.levels,
        f"(session_id IS NULL OR session_id NOT IN ({small}))": wanted.min_bytes,
    }
    return [condition for condition, given in found.items() if given]


def _quoted(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _plain(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=None).isoformat() if moment else None
