"""What `--help` shows, at the width of an old terminal."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from echo.cli import EPILOGUE, app, main
from echo.testing import Faults

if TYPE_CHECKING:
    Captured = pytest.CaptureFixture[str]

COMMANDS = ["", *(name for name in app if not name.startswith("-"))]
COMMANDS += [f"logs {name}" for name in app["logs"] if not name.startswith("-")]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(command: str, capsys: Captured) -> str:
    """Return the help of a command."""
    assert main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_eighty_columns(command: str, capsys: Captured) -> None:
    """No line is wider; there is no empty default, and variables are explained once, at the end."""
    help_page = shown(command, capsys)

    assert max(len(line) for line in help_page.splitlines()) <= 80
    assert not re.search(r"default: *(\(\)|None|False|True)", help_page)
    assert "env var" not in help_page
    assert " ".join(help_page.split()).endswith(" ".join(EPILOGUE.split()))


def test_the_options_that_matter_come_first(capsys: Captured) -> None:
    """The first ten options of `serve` are those that most people look for."""
    names = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown("serve", capsys), re.MULTILINE)

    assert names[:10] == [
        "--host",
        "--port",
        "--log-file",
        "--log-level",
        "--tls-cert",
        "--tls-key",
        "--status-port",
        "--config",
        "--max-sessions",
        "--max-sessions-per-peer",
    ]


def test_the_faults_are_listed(capsys: Captured) -> None:
    """`--fault` shows each fault, with what it takes."""
    help_page = " ".join(shown("serve", capsys).split())

    for field in fields(Faults):
        assert field.name.replace("_", "-") in help_page
    assert "delay=TIME" in help_page
    assert "throttle=SIZE" in help_page


def test_values_are_shown_as_people_write_them(capsys: Captured) -> None:
    """Placeholders say what is meant, and defaults have their unit."""
    help_page = shown("serve", capsys) + shown("load", capsys)

    for text in ("--idle-timeout TIME", "[default: 5m]", "[default: 64M]", "--churn [NUMBER]"):
        assert text in help_page
    assert not re.search(r"--[a-z-]+ (FLOAT|INT|STR|BOOL|PATH)", help_page)


def test_a_wide_terminal_does_not_make_long_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Descriptions end at 100 columns."""
    monkeypatch.setenv("COLUMNS", "300")
    options = shown("serve", capsys).partition("Each option")[0]

    assert max(len(line) for line in options.splitlines()) <= 100
