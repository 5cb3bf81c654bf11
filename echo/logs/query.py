"""Somebody's SQL over a journal: one SELECT, which sees the log and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.logs.journal import Journal

# Rows taken from DuckDB at once.
_BATCH = 1000
_TIME = "strftime({}, '%Y-%m-%dT%H:%M:%S.%fZ')"
# How a type is written in JSON, where that is not as it is.
_AS_JSON = {
    "TIMESTAMP": _TIME,
    "TIMESTAMP WITH TIME ZONE": _TIME,
    "DOUBLE": "CASE WHEN isfinite({0}) THEN {0} END",
}
_AS_TEXT = {"TIMESTAMP": _TIME, "TIMESTAMP WITH TIME ZONE": _TIME}


class BadQuery(ValueError):
    """A question that can't be answered; the text says why."""


@dataclass
class Answer:
    """Names of the columns, and the rows, as they are worked out."""

    columns: list[str]
    _cursor: duckdb.DuckDBPyConnection

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give the rows, which can be done once; `duckdb.Error` where one can't be had."""
        with ThreadPoolExecutor(max_workers=1) as worker:
            while batch := self._next(worker):
                yield from batch

    def _next(self, worker: ThreadPoolExecutor) -> list[tuple[Any, ...]]:
        """Fetch beside the main thread: INT is heard there, and not within DuckDB."""
        batch = worker.submit(self._cursor.fetchmany, _BATCH)
        try:
            return batch.result()
        except KeyboardInterrupt:
            self._cursor.interrupt()
            raise


def ask(journal: Journal, sql: str, *, as_json: bool = False) -> Answer:
    """Ask one question; each row comes as texts, or with `as_json` as one JSON object.

    Times are written as the log writes them. Raises `BadQuery` for what is no single SELECT, and
    for what DuckDB doesn't understand.

    >>> from echo.logs.journal import Journal
    >>> with Journal([]) as journal:
    ...     list(ask(journal, "SELECT 1 AS a, 'x' AS b", as_json=True).rows())
    [('{"a":1,"b":"x"}',)]
    """
    try:
        statements = journal.database.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise BadQuery("one SELECT, please: the log is only read")
        question = statements[0].query.rstrip().removesuffix(";")
        shape = journal.database.sql(question)
        columns = _one_object(shape) if as_json else _texts(shape)
        places = ", ".join(_place(number) for number, _ in enumerate(shape.columns))
        # On a line of its own, so that a comment at the end of the question ends there.
        cursor = journal.database.execute(
            f"SELECT {columns} FROM (\n{question}\n) AS answer({places})"
        )
        return Answer(list(shape.columns), cursor)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise BadQuery(str(error)) from error


def _texts(shape: duckdb.DuckDBPyRelation) -> str:
    kinds = enumerate(map(str, shape.types))
    return ", ".join(
        f"{_AS_TEXT.get(kind, '{}').format(_place(number))}::VARCHAR" for number, kind in kinds
    )


def _one_object(shape: duckdb.DuckDBPyRelation) -> str:
    columns = enumerate(zip(shape.columns, map(str, shape.types), strict=True))
    pairs = (
        f"{_quoted(name)} := {_AS_JSON.get(kind, '{}').format(_place(number))}"
        for number, (name, kind) in columns
    )
    return f"to_json(struct_pack({', '.join(pairs)}))::VARCHAR"


def _place(number: int) -> str:
    """Name a column of the answer: two of them may have the same name."""
    return f"c{number}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
