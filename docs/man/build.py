"""Builds the manual page, echod(1), from what `--help` is made from: `python docs/man/build.py`."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils.core import publish_string
from rich.console import Console

from echo.cli import app
from echo.cli.help import HelpFormatter, description, label, plain
from echo.version import VERSION

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel

HERE = Path(__file__).parent


class Rst(HelpFormatter):
    """Collects a help page as reStructuredText instead of printing it."""

    def __init__(self, title: str) -> None:
        self.lines = [title, "-" * len(title), ""]

    def render_usage(self, console: Any, options: Any, usage: object) -> None:
        """Leave it out: the synopsis says it."""
        del console, options, usage

    def render_description(self, console: Any, options: Any, text: object) -> None:
        """Keep the text, escaped."""
        del console, options
        self.lines += [escaped(plain(text)), ""]

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """Keep a group of options, but for those of every command."""
        del console, options
        entries = [entry for entry in panel.entries if "--config" not in entry.positive_names]
        if entries:
            self.lines += [f"**{panel.title}:**", ""]
        for entry in entries:
            self.lines += [f"``{label(entry)}``", f"    {escaped(description(entry))}", ""]


def escaped(text: str) -> str:
    """Return text in which nothing is markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def commands() -> list[str]:
    """Return the names of all commands, as they are typed."""
    names = [name for name in app if not name.startswith("-")]
    inner = [f"logs {name}" for name in app["logs"] if not name.startswith("-")]
    return [*(name for name in names if name != "logs"), *inner]


def source() -> str:
    """Return the page as reStructuredText: the head, each command's help, and the rest."""
    usual, sections = app.help_formatter, []
    try:
        for command in commands():
            section = app.help_formatter = Rst(command)
            app.help_print(command.split(), console=Console(file=io.StringIO()))
            sections.append("\n".join(section.lines))
    finally:
        app.help_formatter = usual
    page = (HERE / "echod.rst").read_text()
    return page.replace("{version}", VERSION).replace("{commands}", "\n".join(sections))


def build() -> str:
    """Return the page as man(1) reads it."""
    page: bytes = publish_string(source(), writer="manpage", settings_overrides={"halt_level": 2})
    return page.decode()


if __name__ == "__main__":
    (HERE / "echod.1").write_text(build())
