"""`echod logs show`: events as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo.cli.logs.options import Choice, Chosen, File, opened, report_unreadable
from echo.cli.logs.screen import on_terminal, paged
from echo.logs.filters import Filter, Matcher
from echo.logs.pretty import parsed, pretty_line
from echo.logs.reader import merged_by_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from echo.logs.reader import Line

_DEFAULT = Choice()


def show(*files: File, choice: Chosen = _DEFAULT, pager: bool = True) -> int:
    """Print logs.

    Parameters
    ----------
    files
        Log files, packed or not, - for standard input. Default: logs/echo.jsonl and its
        rotated files.
    pager
        On a terminal: show it in $PAGER, or else less.
    """
    wanted = choice.filter("show")
    with opened("show", files) as found:
        colors = on_terminal()
        with paged(pager) as write:
            for line in matching(merged_by_time(found), wanted):
                write(pretty_line(line, colors=colors) + "\n")
        return report_unreadable("show", found)


def matching(lines: Iterable[Line], wanted: Filter) -> Iterator[Line]:
    """Return the lines that a filter lets through."""
    matcher = Matcher(wanted)
    for line in lines:
        if wanted == Filter() or matcher.matches(parsed(line.text)):
            yield line
