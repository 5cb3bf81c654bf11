"""`echod logs summary`: a log on one screen."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.logs.reading import Choice, Chosen, File, extra, journal, problems
from echo.cli.logs.screen import as_json, output

_DEFAULT = Choice()


def summary(
    *files: File,
    choice: Chosen = _DEFAULT,
    peers: Annotated[int, Parameter(validator=Number(gte=0))] = 5,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Sum up logs.

    Parameters
    ----------
    files
        Log files, .gz too, - for standard input; the default log where none is given.
    peers
        How many of the busiest peers to name.
    json
        Write one JSON object.
    """
    with extra("summary"):
        from echo.cli.logs.drawing import draw
        from echo.logs.summary import summarize
    with journal("summary", files, choice) as tables:
        found = summarize(tables, peers)
    with output() as write:
        if json:
            write(as_json(found.as_dict()) + "\n")
        else:
            draw(found)
    return problems("summary", tables.files)
