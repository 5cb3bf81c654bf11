"""`echod logs summary`: a log on one screen."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.logs.options import Choice, Chosen, File, extra, loaded, report_unreadable
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
        Log files, packed or not, - for standard input. Default: logs/echo.jsonl and its
        rotated files.
    peers
        How many of the busiest peers to name.
    json
        Write one JSON object.
    """
    with extra("summary"):
        from echo.cli.logs.drawing import draw
        from echo.logs.figures import summarize
    with loaded("summary", files, choice) as database:
        found = summarize(database, peers)
    with output() as write:
        if json:
            write(as_json(found.as_dict()) + "\n")
        else:
            draw(found)
    return report_unreadable("summary", database.files)
