"""`echod logs follow`: events while they are written."""

from __future__ import annotations

import stat
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import USAGE, Failure, say
from echo.cli.logs.options import Choice, Chosen, File, check_names, opened
from echo.cli.logs.screen import on_terminal, output
from echo.errors import problem_of
from echo.logs.files import DEFAULT_LOG, STDIN
from echo.logs.filters import Matcher
from echo.logs.follower import Follower
from echo.logs.pretty import parsed, pretty_line
from echo.logs.reader import read_lines
from echo.logs.small_sessions import HeldSessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from echo.logs.filters import Filter
    from echo.logs.reader import Line

    Show = Callable[[Iterable[Line]], None]

_DEFAULT = Choice()
# Seconds between two looks at the files. Notices from the kernel would save a stat a file, and
# there are none of a network file system or from outside a container.
_LOOK_INTERVAL = 0.2
_PACKED = (".gz", ".zst", ".xz", ".bz2")


def follow(
    *files: File,
    choice: Chosen = _DEFAULT,
    lines: Annotated[int, Parameter(name=["--lines", "-n"], validator=Number(gte=0))] = 10,
) -> None:
    """Print events live, through the rotations of the log.

    Parameters
    ----------
    files
        Log files, or a pipe, - for standard input. Default: logs/echo.jsonl.
    lines
        How many earlier lines to begin with.
    """
    check_names("follow", files)
    wanted = choice.filter("follow")
    names = tuple(str(file) for file in files) or (DEFAULT_LOG,)
    with suppress(KeyboardInterrupt), output() as write:  # INT is how it ends
        if any(map(_is_pipe, names)):
            _follow_pipe(names, wanted, _printer(write))
        else:
            _follow_files(names, wanted, lines, _printer(write))


def _is_pipe(name: str) -> bool:
    return name == STDIN or Path(name).is_fifo()


def _printer(write: Callable[[str], object]) -> Show:
    colors = on_terminal()

    def show(lines: Iterable[Line]) -> None:
        for line in lines:
            write(pretty_line(line, colors=colors) + "\n")
        sys.stdout.flush()

    return show


def _follow_pipe(names: tuple[str, ...], wanted: Filter, show: Show) -> None:
    if len(names) > 1:
        raise Failure("logs follow: a pipe can't be followed beside files", USAGE)
    with opened("follow", [Path(name) for name in names]) as (pipe,):
        matcher, held = Matcher(wanted), HeldSessions(wanted)
        for line in read_lines(pipe, at_once=True):
            show(_matching(line, matcher, held))
        show(held.rest())


def _follow_files(names: tuple[str, ...], wanted: Filter, lines: int, show: Show) -> None:
    matcher = Matcher(wanted)
    pause = threading.Event()
    followers = [(_follower(name), HeldSessions(wanted)) for name in names]
    for follower, held in followers:
        show(deque(_new(follower, matcher, held), maxlen=lines))
    while not pause.wait(_LOOK_INTERVAL):
        for follower, held in followers:
            show(_new(follower, matcher, held))


def _matching(line: Line, matcher: Matcher, held: HeldSessions) -> Iterator[Line]:
    fields = parsed(line.text)
    return held.after(line, fields, matches=matcher.matches(fields))


def _new(follower: Follower, matcher: Matcher, held: HeldSessions) -> Iterator[Line]:
    try:
        for line in follower.read():
            yield from _matching(line, matcher, held)
    except OSError as error:
        raise _unreadable(str(follower.path), problem_of(error)) from error


def _follower(name: str) -> Follower:
    path = Path(name)
    if path.suffix in _PACKED:
        raise Failure(f"logs follow: {name} is compressed, nobody writes to it: use show", USAGE)
    with suppress(OSError):
        mode = path.stat().st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise _unreadable(name, "it is a device")
    try:
        follower = Follower(path)
    except OSError as error:
        raise _unreadable(name, problem_of(error)) from error
    if not follower.found:
        say(f"logs follow: waiting for {name}")
    return follower


def _unreadable(name: str, why: str) -> Failure:
    return Failure(f"logs follow: can't read {name}: {why}")
