"""What setup.cfg can't say: the compiled loop, and a description whose links work anywhere.

`ECHO_PURE=1` leaves the compiled loop out, which makes a wheel for every system and Python.
"""

import os
import re
import runpy
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path

from setuptools import Extension, setup

CONFIG = ConfigParser()
CONFIG.read("setup.cfg")
VERSION = runpy.run_path("echo/version.py")["VERSION"]
SOURCES = ["echo/server/compiled_loop.pyx", "echo/server/followers.c"]
# A link or a picture that leads to a file beside the README.
BESIDE = re.compile(r'(?P<before>\]\(|src="|srcset=")(?P<path>(?![a-z]+:|#)[^)"\s]+)')


def description() -> str:
    """Return the README with each link to a file beside it led to that file's own page."""
    home = CONFIG["metadata"]["url"]

    def absolute(found: re.Match[str]) -> str:
        kind = "blob" if found["before"] == "](" and not _is_picture(found["path"]) else "raw"
        return f"{found['before']}{home}/{kind}/v{VERSION}/{found['path']}"

    return BESIDE.sub(absolute, Path("README.md").read_text(encoding="utf-8"))


def _is_picture(path: str) -> bool:
    return path.endswith((".png", ".svg"))


def is_in_place() -> bool:
    """Return whether an editable installation finds the loop built from these sources already.

    To build it again would replace the file while daemons of another environment import it.
    """
    built = Path(f"echo/server/compiled_loop{sysconfig.get_config_var('EXT_SUFFIX')}")
    sources = [*SOURCES, "echo/server/followers.h", "setup.py"]
    return (
        "editable_wheel" in sys.argv
        and built.exists()
        and all(built.stat().st_mtime > Path(path).stat().st_mtime for path in sources)
    )


def extensions() -> list[Extension]:
    """Return the compiled loop, which is Linux's. Where no compiler is, Python's loop serves."""
    if sys.platform != "linux" or os.environ.get("ECHO_PURE") or is_in_place():
        return []
    return [
        Extension(
            "echo.server.compiled_loop",
            SOURCES,
            include_dirs=["echo/server"],
            depends=["echo/server/followers.h"],
            optional=True,
            # Without what a debugger wants, which is half of the file.
            extra_compile_args=["-g0"],
            extra_link_args=["-Wl,--strip-all"],
        )
    ]


setup(long_description=description(), ext_modules=extensions())
