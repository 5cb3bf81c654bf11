"""How a command fails: one line that says what could not be done and what to do, and a code."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress
from importlib import metadata
from urllib.parse import unquote, urlsplit

FAILED = 1
USAGE = 2
UNAVAILABLE = os.EX_UNAVAILABLE
SOFTWARE = os.EX_SOFTWARE
OSERR = os.EX_OSERR
CANTCREAT = os.EX_CANTCREAT
NOPERM = os.EX_NOPERM
CONFIG = os.EX_CONFIG


class Failure(Exception):
    """Ends a command with `code`; the text is the line that the user gets."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def say(text: str) -> None:
    """Write one line to stderr; where that is closed, the exit code must do."""
    if sys.stderr is not None:  # it is where somebody closed it
        with suppress(OSError):
            print(f"echod: {' '.join(text.split())}", file=sys.stderr)


def missing_extra(command: str, library: str, extra: str, code: int = USAGE) -> Failure:
    """Return the failure of a command whose optional library isn't installed.

    The command line that it names installs the library where this Python finds it: from where
    echod itself was installed, a folder or a repository, or else the package index.
    """
    what = shlex.quote(f"echo-daemon[{extra}]")
    # In a checkout there may be two, of which pip noted one.
    for found in metadata.distributions(name="echo-daemon"):
        if origin := found.read_text("direct_url.json"):
            what = _requirement(json.loads(origin), extra)
    pip = f"{shlex.quote(sys.executable)} -m pip install {what}"
    return Failure(f"{command}: {library} is not installed: {pip}", code)


def _requirement(origin: dict[str, object], extra: str) -> str:
    """Return what pip installs the extra from, by what it noted of echod's own installation.

    >>> _requirement({"url": "file:///home/me/echo", "dir_info": {"editable": True}}, "fuzz")
    "-e '/home/me/echo[fuzz]'"
    >>> _requirement({"url": "https://git.example/echo", "vcs_info": {"vcs": "git"}}, "fuzz")
    "'echo-daemon[fuzz] @ git+https://git.example/echo'"
    """
    url, vcs, folder = (origin.get(name, {}) for name in ("url", "vcs_info", "dir_info"))
    if isinstance(folder, dict) and "dir_info" in origin:
        path = shlex.quote(f"{unquote(urlsplit(str(url)).path)}[{extra}]")
        return f"-e {path}" if folder.get("editable") else path
    scheme = f"{vcs['vcs']}+" if isinstance(vcs, dict) and "vcs" in vcs else ""
    return shlex.quote(f"echo-daemon[{extra}] @ {scheme}{url}")
