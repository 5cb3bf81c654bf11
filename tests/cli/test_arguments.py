"""Every parameter of every command, given each way; and values as people write them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import cyclopts
import pytest

from echo.cli import ENVIRONMENT, app, main
from echo.cli.arguments import normalize, unit_of
from echo.client.address import split_address

if TYPE_CHECKING:
    from cyclopts.argument import Argument

    Captured = pytest.CaptureFixture[str]

COMMANDS = [name for name in app if not name.startswith("-") and name != "logs"]
LOGS = [f"logs {name}" for name in app["logs"] if not name.startswith("-")]
# For what takes no word whatever it is.
WORDS = {"--size": "1-4k", "--proxy-from": "10.0.0.0/8", "--churn": "3"}
BY_UNIT = {"TIME": "1m", "SIZE": "2k", "NUMBER": "7", "PORT": "echo", "FILE": "~/x.pem"}
MEANT = {"1m": 60, "2k": 2048, "7": 7, "echo": 7, "~/x.pem": Path.home() / "x.pem", "3": 3}


def parameters() -> list[Any]:
    """Return each command with each of its parameters."""
    return [
        pytest.param(command, argument, id=f"{command} {argument.name}")
        for command in chain(COMMANDS, LOGS)
        for argument in command_of(command).assemble_argument_collection(parse_docstring=True)
        if argument.parse and not argument.children and argument.name != "FILES"
    ]


def command_of(name: str) -> cyclopts.App:
    """Return a command."""
    found = app
    for word in name.split():
        found = found[word]
    return found


def example(argument: Argument) -> str:
    """Return a value that is not the default, as a person writes it."""
    kind, default = argument.resolved_hint, argument.field_info.default
    if kind is bool:
        return "false" if default is True else "true"
    if get_origin(kind) is Literal:
        return str(next(choice for choice in get_args(kind) if choice != default))
    unit = "" if get_origin(kind) else unit_of(argument.name, kind)
    return BY_UNIT.get(unit) or WORDS.get(argument.name, "word")


def value(name: str, tokens: list[str], table: dict[str, Any]) -> Any:
    """Return what a parameter is, given a command line, the environment, and the file."""
    usual, app.config = app.config, [ENVIRONMENT, cyclopts.config.Dict(table), normalize]
    try:
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    finally:
        app.config = usual
    bound.apply_defaults()
    groups = [each for each in bound.arguments.values() if hasattr(each, name)]
    return getattr(groups[0], name) if groups else bound.arguments[name]


@pytest.mark.parametrize(("command", "argument"), parameters())
def test_every_parameter_can_be_given_each_way(
    command: str, argument: Argument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an option, as a variable, and in the file it is the same value, and not the default."""
    text, option, name = example(argument), argument.name, argument.field_info.name
    switched = {"true": [option], "false": [option.replace("--", "--no-")]}
    table: dict[str, Any] = {option[2:]: {"true": True, "false": False}.get(text, text)}
    for word in reversed(command.split()):
        table = {word: table}
    words = [*command.split(), *(["SELECT 1"] if command == "logs query" != name else [])]
    words = words[: 2 if option == "--sql" else None]

    by_option = value(name, [*words, *switched.get(text, [option, text])], {})
    by_file = value(name, words, table)
    monkeypatch.setenv(f"ECHOD_{option[2:].upper().replace('-', '_')}", text)
    by_variable = value(name, words, {})

    meant = {"true": True, "false": False}.get(text, MEANT.get(text, text))
    assert by_option == by_file == by_variable
    assert by_option in (meant, (meant,))


@pytest.mark.parametrize("argument", [each.values[1] for each in parameters()])
def test_what_is_a_time_or_a_size_is_described_so(argument: Argument) -> None:
    """The unit that help shows is the one that the description speaks of."""
    unit = unit_of(argument.name, argument.resolved_hint)
    first = str(argument.parameter.help or "").partition(" ")[0]

    assert (first == "Seconds") <= (unit == "TIME")
    assert (first == "Bytes") <= (unit == "SIZE" or argument.name == "--size")


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("192.0.2.1:7777", ("192.0.2.1", 7777)),
        ("192.0.2.1 7777", ("192.0.2.1", 7777)),
        ("[2001:db8::1]:7777", ("2001:db8::1", 7777)),
        ("[2001:db8::1]", ("2001:db8::1", 9000)),
        ("2001:db8::1", ("2001:db8::1", 9000)),
        ("fe80::1%eth0 7777", ("fe80::1%eth0", 7777)),
        ("tcp://example.com:7777/", ("example.com", 7777)),
        (":7777", ("127.0.0.1", 7777)),
        ("example.com", ("example.com", 9000)),
        ("example.com echo", ("example.com", 7)),
        ("example.com:echo", ("example.com", 7)),
        ("example.com --port 7777", ("example.com", 7777)),
        ("--host example.com --port 7777", ("example.com", 7777)),
        ("--host example.com:7777", ("example.com", 7777)),
        ("--port 7777", ("127.0.0.1", 7777)),
    ],
)
@pytest.mark.parametrize("command", ["connect", "ping", "load", "fuzz"])
def test_a_server_s_address_in_every_form(command: str, words: str, where: tuple[str, int]) -> None:
    """Host and port are two words, or one, or options."""
    line = [command, *words.split()]

    assert (value("host", line, {}), value("port", line, {})) == where


def test_the_port_of_the_strongest_source_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port beside the host, on the command line, wins over a variable; an option over both."""
    monkeypatch.setenv("ECHOD_PORT", "1111")
    beside = value("port", ["ping", "example.com:2222"], {"ping": {"port": 3333}})
    variable = value("port", ["ping", "example.com"], {"ping": {"port": 3333}})
    monkeypatch.setenv("ECHOD_HOST", "example.com:4444")
    option = value("port", ["ping", "--port", "5555"], {})

    assert (beside, variable, option) == (2222, 1111, 5555)


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's file of variables may have them without a value."""
    monkeypatch.setenv("ECHOD_PORT", "")

    assert value("port", ["ping"], {}) == 9000


def test_a_home_that_nobody_has_is_a_name() -> None:
    """A `~` of no user stays as it is."""
    assert value("tls_ca", ["ping", "--tls-ca", "~nobody-at-all/x"], {}) == Path("~nobody-at-all/x")


def test_an_address_that_is_none_is_left_to_the_resolver() -> None:
    """What is neither HOST nor HOST:PORT is taken as a name, which will not be found."""
    assert split_address("a:b:c]") == ("a:b:c]", "")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, capfd: Captured) -> None:
    """Editors on Windows begin a file with one."""
    file = tmp_path / "echod.toml"
    file.write_bytes(b"\xef\xbb\xbf[ping]\nport = 1\ncount = 1\n")

    assert main(["--config", str(file), "ping"]) == 1
    assert "127.0.0.1 port 1" in capfd.readouterr().err


def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, capfd: Captured) -> None:
    """5.5 sessions are not 6, and a time has a unit that there is."""
    for line, said in (
        ("max-sessions = 5.5", "max-sessions must be a whole number, not 5.5"),
        ("idle-timeout = '5x'", "idle-timeout must be a time such as"),
        ("max-bytes = '5x'", "max-bytes must be a size such as"),
    ):
        file = tmp_path / "echod.toml"
        file.write_text(f"[serve]\n{line}\n")

        assert main(["serve", "--config", str(file)]) == 2
        assert f"echod: {file}: {said}" in capfd.readouterr().err
