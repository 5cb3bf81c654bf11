"""Programs from Debian packages that tests talk to: installed when missing and possible."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

# Where the package is not called like the program.
PACKAGES = {
    "bwrap": "bubblewrap",
    "c++": "g++",
    "cc": "gcc",
    "ip": "iproute2",
    "promtool": "prometheus",
    "ss": "iproute2",
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
    install = ("install", "-y", "-qq", "--no-install-recommends", package)
    if _apt_get(*install):
        _apt_get("update", "-qq")
        _apt_get(*install)


def _apt_get(*arguments: str) -> int:
    # Test runs side by side wait for each other instead of going without.
    return subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=300,
        check=False,
    ).returncode
