"""A user's SQL over a log: one SELECT, which sees the log and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.logs.database import LogDatabase

# Rows taken from DuckDB at once.
_BATCH = 1000
_MOST_WHOLE = 1 << 63  # orjson writes whole numbers up to twice that


class BadQuery(ValueError):
    """A question that can't be answered; the text says why."""


@dataclass
class QueryResult:
    """The columns' names and types, and the rows as they are worked out.

    Of columns of one name, the later ones have a number added.
    """

    columns: list[str]
    types: list[str]
    _database: LogDatabase

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        return [kind.startswith(("DECIMAL", *_NUMBERS)) for kind in self.types]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return the rows, which can be done once; `duckdb.Error` where one can't be had."""
        connection = self._database.connection
        while batch := self._database.call(lambda: connection.fetchmany(_BATCH)):
            yield from batch

    def texts(self) -> Iterator[list[str]]:
        """Return the rows as texts; times as the log writes them."""
        for row in self.rows():
            yield [_text(value) for value in row]

    def objects(self) -> Iterator[str]:
        """Return the rows as JSON objects; what JSON can't hold is null or text."""
        json = [kind == "JSON" for kind in self.types]
        for row in self.rows():
            values = [
                orjson.loads(value) if is_json and value is not None else value
                for value, is_json in zip(row, json, strict=True)
            ]
            named = dict(zip(self.columns, map(_plain, values), strict=True))
            yield orjson.dumps(named, option=orjson.OPT_NON_STR_KEYS).decode()


_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U", "FLOAT", "DOUBLE")


def ask(database: LogDatabase, sql: str) -> QueryResult:
    """Ask one question. Raise `BadQuery` for what is no single SELECT that DuckDB understands.

    >>> from echo.logs.database import LogDatabase
    >>> with LogDatabase([]) as database:
    ...     list(ask(database, "SELECT 1 AS a, 'x' AS a; -- why not").objects())
    ['{"a":1,"a_1":"x"}']
    """
    try:
        statements = database.connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise BadQuery("one SELECT, please: the log is only read")
        # A statement that is executed streams its answer.
        database.call(lambda: database.connection.execute(statements[0]))
        shape = database.connection.description or []
        return QueryResult(
            _unique([str(c[0]) for c in shape]), [str(c[1]) for c in shape], database
        )
    except duckdb.Error as error:
        raise BadQuery(str(error)) from error


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        unique, number = name, 0
        while unique in found:
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    if isinstance(value, float):
        return str(value)  # nan and inf, too
    return orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> Any:
    """Return what JSON can hold, whatever a value holds inside."""
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int):
        return value if -_MOST_WHOLE <= value < 2 * _MOST_WHOLE else str(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return utc.isoformat(timespec="microseconds") + "Z"
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value)
