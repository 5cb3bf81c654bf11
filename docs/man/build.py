"""Builds the manual page, echod(1), from what `--help` is made from: `python docs/man/build.py`."""

from __future__ import annotations

import re
from pathlib import Path

from docutils.core import publish_string

from echo.cli import app
from echo.version import VERSION

HERE = Path(__file__).parent


def source() -> str:
    """Join the head, what the commands say of themselves, and the rest, as reStructuredText."""
    commands = app.generate_docs(output_format="rst")
    commands = commands.partition("**Commands:**")[2]
    commands = re.sub(r"^\.\. _[^\n]*\n", "", commands, flags=re.MULTILINE)
    page = (HERE / "echod.rst").read_text()
    return page.replace("{version}", VERSION).replace("{commands}", commands)


def build() -> str:
    """Give the page."""
    page: bytes = publish_string(source(), writer="manpage", settings_overrides={"halt_level": 2})
    return page.decode()


if __name__ == "__main__":
    (HERE / "echod.1").write_text(build())
