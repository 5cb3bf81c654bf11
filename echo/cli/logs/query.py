"""`echod logs query`: SQL over the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.failure import USAGE, Failure
from echo.cli.logs.options import Choice, Chosen, File, extra, loaded, report_unreadable
from echo.cli.logs.screen import console, output
from echo.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.logs.sql import QueryResult

_DEFAULT = Choice()
# A table is drawn whole, so that its columns fit; --json writes as many rows as there are.
_MOST_ROWS = 1000
# Columns of what has none: a file, or a pipe.
_UNBOUNDED = 100_000


def query(
    sql: str,
    *files: File,
    choice: Chosen = _DEFAULT,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run one query.

    Parameters
    ----------
    sql
        A SELECT over events (a row each: its fields, file, line, and text, the event as it was
        written) and sessions (session_id, peer_ip, peer_port, began, ended, state, reason,
        received_bytes, sent_bytes, duration_s, run).
    files
        Log files, packed or not, - for standard input. Default: logs/echo.jsonl and its
        rotated files.
    json
        Write a JSON array of objects.
    """
    with extra("query"):
        from echo.logs.sql import BadQuery, ask
        from echo.logs.tables import COLUMNS, TEXT
    # The text of all lines takes as much again as all the rest.
    text = [TEXT] if TEXT in sql.lower() else []
    with loaded("query", files, choice, *COLUMNS, *text) as database:
        try:
            answer = ask(database, sql)
        except BadQuery as error:
            raise Failure(f"logs query: {error}", USAGE) from error
        with output() as write:
            if json:
                _write_json(answer, write)
            else:
                _draw(answer)
    return report_unreadable("query", database.files)


def _write_json(answer: QueryResult, write: Callable[[str], object]) -> None:
    separator = "["
    for row in answer.objects():
        write(f"{separator}{row}")
        separator = ",\n"
    write("]\n" if separator != "[" else "[]\n")


def _draw(answer: QueryResult) -> None:
    from rich.table import Table

    table = Table(header_style="bold")
    for name, numeric in zip(answer.columns, answer.numeric, strict=True):
        table.add_column(escape(name), justify="right" if numeric else "left")
    more = ""
    for row in answer.texts():
        if table.row_count == _MOST_ROWS:
            more = f"the first {_MOST_ROWS:,} rows: --json writes all"
            break
        table.add_row(*map(escape, row))
    screen = console(width=_UNBOUNDED)
    screen.print(table)
    if more:
        screen.print(more)
