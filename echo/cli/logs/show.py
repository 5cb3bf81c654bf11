"""`echod logs show`: events as a person reads them."""

from __future__ import annotations

from echo.cli.logs.options import Choice, Chosen, File, opened, report_unreadable
from echo.cli.logs.screen import on_terminal, paged
from echo.logs.filters import Filter, Matcher
from echo.logs.pretty import parsed, pretty_line
from echo.logs.reader import merged_by_time
from echo.logs.small_sessions import small_sessions

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
        matcher = Matcher(wanted, small_sessions(found, wanted))
        with paged(pager) as write:
            for line in merged_by_time(found):
                if wanted == Filter() or matcher.matches(parsed(line.text)):
                    write(pretty_line(line, colors=colors) + "\n")
        return report_unreadable("show", found)
