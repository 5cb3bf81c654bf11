"""`echod logs audit`: whether the daemon kept its promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.failure import FAILED
from echo.cli.logs.reading import Choice, Chosen, File, extra, journal, problems
from echo.cli.logs.screen import as_json, console, output
from echo.escape import escape
from echo.logs import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from echo.logs.audit import Audit, Finding

_DEFAULT = Choice()
# Of each kind that breaks no promise, this many are named on a screen; --json names more.
_MOST_REMARKS = 5


def audit(
    *files: File,
    choice: Chosen = _DEFAULT,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check logs.

    Parameters
    ----------
    files
        Log files, .gz too, - for standard input; the default log where none is given.
    json
        Write one JSON object.
    """
    with extra("audit"):
        from echo.logs.audit import audit as check
    with journal("audit", files, choice) as tables:
        found = check(tables)
    with output() as write:
        if json:
            write(as_json(found.as_dict()) + "\n")
        else:
            _tell(found)
    code = problems("audit", tables.files)
    return code if found.passed else FAILED


def _tell(found: Audit) -> None:
    from echo.logs.audit import MOST_OF_A_KIND

    screen = console()
    _list(screen, found.remarks, found.remark_counts, "yellow", _MOST_REMARKS)
    _list(screen, found.breaches, found.breach_counts, "bold red", MOST_OF_A_KIND)
    breaches = sum(found.breach_counts.values())
    style = "bold red" if breaches else "bold green"
    screen.print(
        f"{words.number(breaches) if breaches else 'no'} breach{'es' * (breaches > 1)}: "
        f"{words.number(found.sessions)} sessions; "
        f"the totals of {found.runs_compared} of {found.runs} runs",
        style=style,
    )


def _list(
    screen: Console,
    findings: Sequence[Finding],
    counts: Mapping[str, int],
    style: str,
    most: int,
) -> None:
    from rich.text import Text

    for kind, count in counts.items():
        told = [finding for finding in findings if finding.kind == kind][:most]
        for finding in told:
            place = f"{escape(finding.file)}:{finding.line}: "
            text = Text.assemble(place, (kind, style), f": {escape(finding.text)}")
            screen.print(text, soft_wrap=True)
        if count > len(told):
            screen.print(f"... and {words.number(count - len(told))} more: {kind}", style=style)
