"""Programs from Debian packages that tests talk to: installed when missing and possible."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

# Where the package is not called like the program.
PACKAGES = {
    "c++": "g++",
    "cc": "gcc",
    "promtool": "prometheus",
}


def need(program: str) -> str:
    """Give the program's path, after installing it if need be; skip the test where none is."""
    path = shutil.which(program)
    if path is None and _may_install():
        _install(PACKAGES.get(program, program))
        path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed, and can't be: not root, or no apt-get")
    return path


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _install(package: str) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "timeout": 300}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    if subprocess.run(install, env=environment, check=False, **quiet).returncode:  # type: ignore[call-overload]
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, **quiet)  # type: ignore[call-overload]
        subprocess.run(install, env=environment, check=False, **quiet)  # type: ignore[call-overload]
