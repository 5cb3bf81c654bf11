"""Draws `--help`: options in groups, each with its value, unit and default."""

from __future__ import annotations

import io
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from echo.cli.arguments import unit_of
from echo.units import show_size, show_time

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import ConsoleOptions

# Lines longer than this are hard to read, however wide the terminal is.
MAX_WIDTH = 100
# Where descriptions begin at the latest. A longer label has its description below it.
COLUMN = 27

_KINDS = {"FLOAT": float, "INT": int, "PATH": Path}
_NUMBER = re.compile(r"\d+(\.\d+)?")
# A space at which textwrap breaks no line.
_NO_BREAK = "\xa0"
_NO_DEFAULTS = ("None", "False", "True", "()")


class HelpFormatter:
    """Draws the panels that cyclopts makes of a command, as its `help_formatter`."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """Print how the command is called."""
        del options
        console.print(Text(f"Usage: {str(usage).removeprefix('Usage: ').strip()}", "bold"))

    def render_description(self, console: Console, options: ConsoleOptions, text: Any) -> None:
        """Print what the command does, a paragraph after the other."""
        del options
        for paragraph in plain(text).strip().split("\n\n"):
            console.print()
            for line in _wrapped(paragraph, console):
                console.print(Text(line), soft_wrap=True)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of options."""
        del options
        if not panel.entries:
            return
        console.print()
        console.print(Text(f"{panel.title}:", "bold"))
        # What every command takes comes last.
        entries = sorted(panel.entries, key=lambda entry: "--config" in entry.positive_names)
        column = min(COLUMN, 4 + max(len(label(entry)) for entry in entries))
        for entry in entries:
            _print_entry(console, label(entry), description(entry), column)


def label(entry: HelpEntry) -> str:
    """Return an option as one types it: `-p, --port PORT`, `HOST, --host`."""
    names = [*entry.positive_shorts, *entry.positive_names]
    if entry.default == "True":
        names += entry.negative_names
    if entry.positional_label:
        names.insert(0, entry.positional_label)
    elif entry.metavar:
        names[-1] += f" {_metavar(entry)}"
    return ", ".join(names)


def description(entry: HelpEntry) -> str:
    """Return an option's text, with its choices and its default."""
    text = " ".join(plain(entry.description).split())
    facts = [", ".join(entry.choices)] if entry.choices else []
    if entry.default is not None and entry.default not in _NO_DEFAULTS:
        facts.append(f"default:{_NO_BREAK}{_default(entry)}")
    return f"{text} [{'; '.join(facts)}]" if facts else text


def _metavar(entry: HelpEntry) -> str:
    name = entry.positive_names[0]
    metavar = str(entry.metavar)
    kind = metavar.removesuffix("...")
    if kind == "BOOL|INT":  # alone it is a flag
        return "[NUMBER]"
    if kind == "CHOICE":
        return name.rpartition("-")[2].upper()
    if kind == "STR":
        return metavar.replace("STR", name.rpartition("-")[2].upper())
    return unit_of(name, _KINDS[kind]) if kind in _KINDS else metavar


def _default(entry: HelpEntry) -> str:
    unit = _metavar(entry) if entry.positive_names and entry.metavar else ""
    text = str(entry.default)
    if unit == "TIME" and _NUMBER.fullmatch(text):
        return show_time(float(text))
    if unit == "SIZE" and _NUMBER.fullmatch(text):
        return show_size(int(text))
    return text.removesuffix(".0") if unit == "NUMBER" else text


def plain(text: Any) -> str:
    """Return the text of what cyclopts has made of a description."""
    console = Console(file=io.StringIO(), width=100_000, color_system=None)
    with console.capture() as capture:
        console.print(text or "", end="", highlight=False)
    return capture.get()


def _print_entry(console: Console, label: str, text: str, column: int) -> None:
    lines = _wrapped(text, console, indent=column)
    head = f"  {label}".ljust(column)
    if len(head) <= column and lines:
        lines[0] = head + lines[0][column:]
    else:
        lines.insert(0, head)
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _wrapped(text: str, console: Console, indent: int = 0) -> list[str]:
    margin = " " * indent
    lines = textwrap.wrap(
        text,
        max(min(console.width, MAX_WIDTH), indent + 20),
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in lines]
