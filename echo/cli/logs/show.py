"""`echod logs show`: events as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo.cli.logs.reading import Choice, Chosen, File, opened, problems
from echo.cli.logs.screen import on_terminal, paged
from echo.logs.filters import Filter, Matcher
from echo.logs.passing import in_time
from echo.logs.pretty import parsed, pretty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEFAULT = Choice()


def show(*files: File, choice: Chosen = _DEFAULT, pager: bool = True) -> int:
    """Print logs.

    Parameters
    ----------
    files
        Log files, .gz too, - for standard input; the default log where none is given.
    pager
        On a terminal: show it in $PAGER, or else less.
    """
    wanted = choice.filter("show")
    with opened("show", files) as found:
        colors = on_terminal()
        with paged(pager) as write:
            for line in matching(in_time(found), wanted):
                write(pretty(line, colors=colors) + "\n")
        return problems("show", found)


def matching(lines: Iterable[bytes], wanted: Filter) -> Iterator[bytes]:
    """Give the lines that a filter lets through."""
    matcher = Matcher(wanted)
    for line in lines:
        if wanted == Filter() or matcher.matches(parsed(line)):
            yield line
