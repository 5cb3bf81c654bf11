"""`echod logs report`: the verdict and the summary as a page to send to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import CANTCREAT, Failure
from echo.cli.logs.options import Choice, Chosen, File, extra, loaded, report_unreadable
from echo.cli.logs.screen import output
from echo.errors import problem_of

_DEFAULT = Choice()


def report(
    *files: File,
    output_file: Annotated[
        Path, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)
    ] = Path("report.html"),
    choice: Chosen = _DEFAULT,
    peers: Annotated[int, Parameter(validator=Number(gte=0))] = 20,
) -> int:
    """Write a page.

    Parameters
    ----------
    files
        Log files, packed or not, - for standard input. Default: logs/echo.jsonl and its
        rotated files.
    output_file
        Where to write it; - is standard output.
    peers
        How many of the busiest peers to name.
    """
    with extra("report"):
        from echo.logs.figures import summarize
        from echo.logs.page import report as write_page
    with loaded("report", files, choice) as database:
        html = write_page(summarize(database, peers))
    if str(output_file) == "-":
        with output() as write:
            write(html)
    else:
        _save(output_file, html)
    return report_unreadable("report", database.files)


def _save(path: Path, html: str) -> None:
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise Failure(
            f"logs report: can't write {path}: {problem_of(error)}; choose another place with -o",
            CANTCREAT,
        ) from error
