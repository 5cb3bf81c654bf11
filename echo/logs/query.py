"""Somebody's SQL over a journal: one SELECT, which sees the log and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.logs.journal import Journal

_BATCH = 1000
_TIMES = {
    "TIMESTAMP": "strftime({}, '%Y-%m-%dT%H:%M:%S.%fZ')",
    "TIMESTAMP WITH TIME ZONE": "strftime({}, '%Y-%m-%dT%H:%M:%S.%fZ')",
}


class BadQuery(ValueError):
    """A question that can't be answered; the text says why."""


@dataclass
class Answer:
    """Names of the columns, and rows as they are worked out."""

    columns: list[str]
    _cursor: duckdb.DuckDBPyConnection

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give the rows, which can be done once; `duckdb.Error` where one can't be had."""
        while batch := self._cursor.fetchmany(_BATCH):
            yield from batch


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
        answer = journal.database.sql(statements[0].query)
        names = list(answer.columns)
        columns = [_written(f'"{_escaped(n)}"', t) for n, t in zip(names, answer.types, strict=True)]
        rows = answer.project(", ".join(columns) if not as_json else _object(names, columns))
        return Answer(names, journal.database.execute(rows.sql_query()))
    except duckdb.Error as error:
        raise BadQuery(str(error)) from error


def _object(names: list[str], columns: list[str]) -> str:
    pairs = (
        f"'{name.replace(chr(39), chr(39) * 2)}': {column}"
        for name, column in zip(names, columns, strict=True)
    )
    return f"to_json({{{', '.join(pairs)}}})"


def _escaped(name: str) -> str:
    return name.replace('"', '""')
