"""`echod logs audit`: whether the daemon kept its promises."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.failure import FAILED, say
from echo.cli.logs.options import ChosenLines, File, LineChoice, extra, loaded, report_unreadable
from echo.cli.logs.screen import as_json, console, output
from echo.escape import escape
from echo.logs import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from echo.logs.promises import Audit, Finding

_DEFAULT = LineChoice()
# Of each kind of remark this many are named on a screen; --json names more.
_MOST_REMARKS = 5
# An audit that saw no event proves nothing.
NO_EVENTS = os.EX_DATAERR


def audit(
    *files: File,
    choice: ChosenLines = _DEFAULT,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check logs.

    Parameters
    ----------
    files
        Log files, packed or not, - for standard input. Default: logs/echo.jsonl and its
        rotated files.
    json
        Write one JSON object.
    """
    with extra("audit"):
        from echo.logs.promises import audit as check
    with loaded("audit", files, choice) as database:
        found = check(database)
    if found.events or json:
        with output() as write:
            if json:
                write(as_json({**found.as_dict(), "verdict": words.verdict(found)}) + "\n")
            else:
                _print(found)
    code = report_unreadable("audit", database.files)
    if not found.events:
        say(f"logs audit: {words.verdict(found)[0]}")
        return NO_EVENTS
    return code if found.passed else FAILED


def _print(found: Audit) -> None:
    from echo.logs.promises import MOST_OF_A_KIND

    screen = console()
    _list(screen, found.remarks, found.remark_counts, "yellow", _MOST_REMARKS)
    _list(screen, found.breaches, found.breach_counts, "bold red", MOST_OF_A_KIND)
    first, *answers = words.verdict(found)
    screen.print(first, style="bold green" if found.passed else "bold red", soft_wrap=True)
    for answer in answers:
        screen.print(escape(answer), soft_wrap=True)


def _list(
    screen: Console,
    findings: Sequence[Finding],
    counts: Mapping[str, int],
    style: str,
    most: int,
) -> None:
    from rich.text import Text

    for kind, count in counts.items():
        named = [finding for finding in findings if finding.kind == kind][:most]
        for finding in named:
            place = f"{escape(finding.file)}:{finding.line}: "
            text = Text.assemble(place, (kind, style), f": {escape(finding.text)}")
            screen.print(text, soft_wrap=True)
        if count > len(named):
            screen.print(f"... and {words.number(count - len(named))} more: {kind}", style=style)
