"""Programs that tests talk to: found, or installed from Debian's packages where that is asked for.

`ECHO_TEST_INSTALL=1` asks for it: tests may then install Debian packages, as root, and fetch from
the registries of Python's and npm's packages. Without it a test whose program is missing is
skipped.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.waiting import seconds

# Where the package is not called like the program.
PACKAGES = {
    "bwrap": "bubblewrap",
    "c++": "g++",
    "cc": "gcc",
    "ip": "iproute2",
    "nc.openbsd": "netcat-openbsd",
    "promtool": "prometheus",
    "ss": "iproute2",
}
# Installing systemd would change the machine: its scripts make users and services, and clean
# /tmp. Its packages are only unpacked, into a folder that is gone when the tests are over, and
# no script of theirs runs.
UNPACKED = {"systemd-analyze": "systemd"}


INSTALL = os.environ.get("ECHO_TEST_INSTALL") == "1"


def need_install() -> None:
    """Skip the test unless tests may install packages and fetch from registries."""
    if not INSTALL:
        pytest.skip("tests install and fetch nothing without ECHO_TEST_INSTALL=1")


def need(program: str) -> str:
    """Return the program's path, after installing it if asked to; skip the test without one."""
    path = shutil.which(program)
    if path is not None:
        return path
    package = UNPACKED.get(program) or PACKAGES.get(program, program)
    if not INSTALL:
        pytest.skip(
            f"{program} is not installed (Debian's package {package}): "
            "ECHO_TEST_INSTALL=1 lets the tests install it"
        )
    if shutil.which("apt-get") and os.geteuid() == 0:
        if program in UNPACKED:
            path = _unpack(program, package)
        else:
            _install(package)
            path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed, and can't be: not root, or no apt-get")
    return path


def _install(*words: str) -> None:
    install = ("install", "-y", "-qq", "--no-install-recommends", *words)
    with (Path(tempfile.gettempdir()) / "echo-test-apt.lock").open("w") as lock:
        # Test runs side by side wait for each other: apt-get doesn't for its list of packages.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _apt_get(*install):
            _apt_get("update", "-qq")
            _apt_get(*install)


@cache
def _unpack(program: str, package: str) -> str | None:
    """Unpack a package and its missing dependencies; return a script that runs the program."""
    folder = Path(tempfile.mkdtemp(prefix="unpacked-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "partial").mkdir()
    here = ("-o", f"Dir::Cache::archives={folder}", "-o", "APT::Sandbox::User=root")
    _install("--download-only", *here, package)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, folder / "root"], check=True)
    for binary in folder.glob(f"root/**/bin/{program}"):
        return _script(folder, binary)
    return None


def _script(folder: Path, binary: Path) -> str:
    """Write a script that runs an unpacked program with the libraries and units beside it."""
    libraries = sorted({str(path.parent) for path in folder.glob("root/**/*.so*")})
    units = [str(path) for path in folder.glob("root/**/systemd/system")]
    script = folder / binary.name
    script.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={':'.join(libraries)}\n"
        f"export SYSTEMD_UNIT_PATH={':'.join(units)}:\n"
        f'exec {binary} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def _apt_get(*arguments: str) -> int:
    # Whoever else installs something is waited for, too.
    return subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=seconds(300),
        check=False,
    ).returncode
