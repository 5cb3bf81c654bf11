"""What the commands that read logs share: which files, which lines, and what can go wrong."""

from __future__ import annotations

import resource
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from echo.cli.failure import FAILED, USAGE, Failure, missing_extra, say
from echo.cli.networks import network
from echo.errors import problem_of
from echo.events import EVENTS, Reason, Refusal, Stop
from echo.logs.files import DEFAULT_LOG, STDIN, LogFile, log_files, open_all
from echo.logs.filters import Filter
from echo.logs.times import EXAMPLES, BadTime, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from echo.logs.database import LogDatabase

# The modules of the extra `logs`.
_EXTRA = ("duckdb", "jinja2", "plotext")
# Descriptors beside those of the files.
_SPARE_DESCRIPTORS = 64
_REASONS = tuple(str(name) for kind in (Reason, Refusal, Stop) for name in kind)

# A file whose name begins with a hyphen is written as ./-name; see `_check_names`.
# A path, so that shells complete it; - is standard input.
File = Annotated[Path, Parameter(allow_leading_hyphen=True)]


@dataclass(frozen=True, kw_only=True)
class LineChoice:
    """Which lines."""

    peer: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Address or network of the peer, as 10.0.0.0/8; may be repeated, as the next three may."""

    session: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Id of a session, as 1f2e3d4c-17."""

    event: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Name of an event, as session.closed."""

    reason: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Reason of an end or a refusal, as idle_timeout."""

    since: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """From this time on: 2026-01-31T15:00, 9:30, yesterday 15:00, @1738200000, 10 min ago."""

    until: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """Before this time, written in the same way."""

    tz: str = "UTC"
    """Zone of --since and --until where they name none: UTC, local, or as Europe/Berlin."""

    level: Literal["debug", "info", "warning", "error"] = "debug"
    """Lowest level to include."""

    def filter(self, command: str) -> Filter:
        """Return what was asked for; raise `Failure` that names what can't be understood."""
        now = datetime.now(UTC)
        _check_words(command, "--event", self.event, EVENTS)
        _check_words(command, "--reason", self.reason, _REASONS)
        try:
            zone = _zone(command, self.tz)
            since = None if self.since is None else parse_time(self.since, now, None, zone)
            until = None if self.until is None else parse_time(self.until, now, since, zone)
            peers = tuple(map(network, self.peer))
        except BadTime as error:
            text = f"{str(error)!r} is no time: use {EXAMPLES}"
            raise Failure(f"logs {command}: {text}", USAGE) from error
        except ValueError as error:
            text = f"--peer: {error}: use 10.0.0.7 or 10.0.0.0/8"
            raise Failure(f"logs {command}: {text}", USAGE) from error
        return Filter(
            peers=peers,
            sessions=self.session,
            events=self.event,
            reasons=self.reason,
            since=since,
            until=until,
            level=self.level,
        )


@dataclass(frozen=True, kw_only=True)
class Choice(LineChoice):
    """Which lines, and of which sessions; `audit` leaves no session out."""

    min_bytes: Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))] = 0
    """Leave out sessions that ended with fewer bytes received, as health checks with 1."""

    def filter(self, command: str) -> Filter:
        """Return what was asked for; raise `Failure` that names what can't be understood."""
        return replace(super().filter(command), min_bytes=self.min_bytes)


_GROUP = Parameter(name="*", group=Group("Which lines", sort_key=1))
ChosenLines = Annotated[LineChoice, _GROUP]
Chosen = Annotated[Choice, _GROUP]


def _zone(command: str, name: str) -> tzinfo:
    if name.lower() in ("utc", "local"):
        return UTC if name.lower() == "utc" else _local()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        text = f"--tz: {name!r} is no zone: use UTC, local, or a name as Europe/Berlin"
        raise Failure(f"logs {command}: {text}", USAGE) from error


def _local() -> tzinfo:
    return datetime.now().astimezone().tzinfo or UTC


def _check_words(command: str, flag: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for word in given:
        if word not in known:
            near = get_close_matches(word, known, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
            raise Failure(f"logs {command}: {flag}: there is no {word!r}: {hint}", USAGE)


def check_names(command: str, files: Iterable[Path]) -> None:
    """Raise `Failure` for a mistyped flag among the files, with the nearest one that there is."""
    for name in map(str, files):
        if name.startswith("-") and name != STDIN:
            flags = {flag.lstrip("-"): flag for flag in _flags(command)}
            near = get_close_matches(name.lstrip("-"), flags, 1)
            hint = f"did you mean {flags[near[0]]}?" if near else f"see echod logs {command} --help"
            text = f"there is no option {name}: {hint} (a file of that name is ./{name})"
            raise Failure(f"logs {command}: {text}", USAGE)


def _flags(command: str) -> list[str]:
    from echo.cli.logs import logs_app

    arguments = logs_app[command].assemble_argument_collection()
    return [name for argument in arguments for name in argument.names if name.startswith("-")]


@contextmanager
def extra(command: str) -> Iterator[None]:
    """Report how to install what a command needs, where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise missing_extra(f"logs {command}", error.name, "logs", FAILED) from error


@contextmanager
def opened(command: str, files: Sequence[Path]) -> Iterator[list[LogFile]]:
    """Open the files to read, in their order; raise `Failure` where none of them can be."""
    check_names(command, files)
    wanted = log_files([str(file) for file in files])
    _raise_descriptor_limit(len(wanted) + _SPARE_DESCRIPTORS)
    found = open_all(wanted)
    try:
        if not any(file.stream and not file.problem for file in found):
            raise _unreadable(command, found[0])
        yield found
    finally:
        for file in found:
            file.close()


def _raise_descriptor_limit(wanted: int) -> None:
    """All files are open at once: raise the soft limit where it is too low for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@contextmanager
def loaded(
    command: str, files: Sequence[Path], choice: LineChoice, *columns: str
) -> Iterator[LogDatabase]:
    """Read files into tables, with these columns or those that are needed anyway."""
    with extra(command):
        import duckdb

        from echo.logs.database import LogDatabase
        from echo.logs.tables import NEEDED
    wanted = choice.filter(command)
    with opened(command, files) as found:
        try:
            with LogDatabase(found, wanted, columns or NEEDED) as database:
                if not database.lines.rows and found[0].problem:
                    raise _unreadable(command, found[0])
                yield database
        except duckdb.Error as error:
            text = str(error).partition("\n")[0]
            raise Failure(f"logs {command}: {text}") from error
        except OSError as error:
            text = f"can't write to the temporary folder: {problem_of(error)}"
            raise Failure(f"logs {command}: {text}; name a larger one in TMPDIR") from error


def report_unreadable(command: str, files: Sequence[LogFile]) -> int:
    """Report each file that could not be read, and return the exit code."""
    bad = [file for file in files if file.problem]
    for file in bad:
        say(str(_unreadable(command, file)))
    return FAILED if bad else 0


def _unreadable(command: str, file: LogFile) -> Failure:
    advice = "name a log that echod serve wrote"
    if file.name == DEFAULT_LOG:
        advice += ", or go to the folder it was started in"
    name = "standard input" if file.name == STDIN else file.name
    return Failure(f"logs {command}: can't read {name}: {file.problem}; {advice}")
