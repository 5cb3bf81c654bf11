"""Reads arguments as people write them, wherever they come from: flags, variables, the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from echo.cli.failure import USAGE, Failure
from echo.client.address import parse_port, split_address
from echo.units import parse_size, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import App
    from cyclopts.argument import Argument, ArgumentCollection
    from cyclopts.token import Token

# A flag wins over a variable, and a variable over the file.
_STRENGTH = {"cli": 2, "env": 1}


def normalize(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Rewrite what was given, before cyclopts converts it: units, names of ports, `~`, HOST:PORT.

    cyclopts calls this after it has collected flags, variables and the file. An empty variable
    counts as one that is not set.
    """
    del app
    for argument in arguments:
        argument.tokens[:] = [
            named_plainly(t) for t in argument.tokens if t.value or t.source != "env"
        ]
    by_name = {argument.name: argument for argument in arguments}
    if "--host" in by_name and "--port" in by_name:
        _split_host(by_name["--host"], by_name["--port"], " ".join(commands))
    for argument in arguments:
        if reader := reader_of(argument):
            argument.tokens[:] = [_read(argument, token, reader) for token in argument.tokens]


def named_plainly(token: Token) -> Token:
    """Return a token of the file with its setting's name as it is there.

    cyclopts writes it `[port]`, which in TOML is a table.
    """
    match = re.fullmatch(r"\[([^][]+)\]", token.keyword or "")
    return token.evolve(keyword=match[1]) if match else token


def unit_of(name: str, kind: object) -> str:
    """Return what a parameter takes: `TIME`, `SIZE`, `NUMBER`, `PORT`, `FILE` or nothing special.

    Times are the floating-point parameters, all but a rate; sizes are named so.

    >>> unit_of("--idle-timeout", float), unit_of("--max-bytes", int), unit_of("--count", int)
    ('TIME', 'SIZE', 'NUMBER')
    """
    if kind is float:
        return "NUMBER" if name == "--rate" else "TIME"
    if kind is int:
        if name.endswith("port"):
            return "PORT"
        return "SIZE" if name.endswith(("size", "bytes", "buffer")) else "NUMBER"
    return "FILE" if Path in (kind, *get_args(kind)) else ""


def reader_of(argument: Argument) -> Callable[[str], object] | None:
    """Return the function that reads an argument's text; None where cyclopts does that itself."""
    kind = argument.resolved_hint
    if kind is int and unit_of(argument.name, kind) == "NUMBER":
        return _whole_number
    return _READERS.get(unit_of(argument.name, kind))


def _read(argument: Argument, token: Token, reader: Callable[[str], object]) -> Token:
    try:
        return token.evolve(value=str(reader(token.value)))
    except ValueError as error:
        name = token.keyword or argument.name.removeprefix("--").upper()
        file = "" if token.source in _STRENGTH else f"{token.source}: "
        raise Failure(f"{file}{name} {error}", USAGE) from error


def _whole_number(text: str) -> str:
    if not re.match(r"[+-]?\d", text) or re.fullmatch(r"[+-]?\d+\.\d*", text):
        raise ValueError(f"must be a whole number, not {text}")
    return text


def _home(text: str) -> str:
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:  # there is no such user: then it is the file's name
        return text


_READERS: dict[str, Callable[[str], object]] = {
    "TIME": parse_time,
    "SIZE": parse_size,
    "PORT": parse_port,
    "FILE": _home,
}


def _split_host(host: Argument, port: Argument, command: str) -> None:
    """Move the port of HOST:PORT to where a port is expected."""
    if not host.tokens:
        return
    token = host.tokens[0]
    if re.fullmatch(r"-\d+", token.value):  # ping's -4 and -6, for cyclopts negative numbers
        raise Failure(f"Unknown option: {token.value}. See echod {command} --help", USAGE)
    name, number = split_address(token.value)
    if not number and re.fullmatch(r"[1-9]\d{0,4}", name):  # 9000 would be 0.0.35.40
        raise Failure(f"{name} is no host: write :{name} or --port {name} for the port", USAGE)
    host.tokens[:] = [token.evolve(value=name)] if name else []
    if not number:
        return
    if port.tokens:
        mine, other = (_STRENGTH.get(each.source, 0) for each in (token, port.tokens[0]))
        if mine == other == _STRENGTH["cli"]:
            raise Failure(
                f"the port is given twice, in {token.value} and as {port.tokens[0].value}: "
                "leave one out",
                USAGE,
            )
        if mine < other:
            return
    port.tokens[:] = [token.evolve(value=number)]
