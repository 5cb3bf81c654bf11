"""A Debian of its own, made by debootstrap, in namespaces of its own: booted, or entered."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.debian import need
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
ROOT = Path(os.environ.get("ECHO_STABLE_ROOT", "/var/tmp/echo-stable"))
# No compiler among them: what is installed from source here runs Python's loop.
PACKAGES = "systemd,systemd-sysv,dbus,python3-venv,ca-certificates,procps,iproute2"
# Runs as process 1 of the namespaces: makes the system's mounts, then becomes its init.
BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
mkdir -p old
pivot_root . old
umount -l old
exec env -i container=unshare PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=null </dev/null >/dev/null 2>&1
"""


def debian(root: Path, packages: str) -> None:
    """Make a Debian of the stable release in `root`, or take the one that is there."""
    if os.geteuid():
        pytest.skip("a system of its own takes root")
    if not (root / "made").exists():
        options = ("--variant=minbase", f"--include={packages}")
        subprocess.run([need("debootstrap"), *options, "stable", root], check=True)
        (root / "made").touch()
    for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        (root / name[1:]).write_bytes(Path(name).read_bytes())


def make() -> None:
    """Make the system if it is not there yet, and install this project in it anew."""
    debian(ROOT, PACKAGES)
    install = (
        'rm -rf "$0/opt/echod" "$0/src" && mkdir "$0/src" && cd "$1"\n'
        "git ls-files -z --cached --others --exclude-standard |"
        ' tar -c --null -T - | tar -x -C "$0/src"\n'
        "unset PIP_FIND_LINKS PYTHONPATH\n"
        'chroot "$0" python3 -m venv /opt/echod\n'
        'chroot "$0" /opt/echod/bin/pip install -q --no-cache-dir /src\n'
        'ln -sf /opt/echod/bin/echod "$0/usr/local/bin/echod"\n'
        'cp deploy/systemd/* "$0/etc/systemd/system/"\n'
    )
    subprocess.run(["bash", "-ec", install, ROOT, PROJECT], check=True)


class Machine:
    """A system that has booted; `pid` is its init as this system sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.root = Path(f"/proc/{pid}/root")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in it, and return what it writes."""
        enter = ("nsenter", f"--target={self.pid}", "--all", "--wdns=/")
        done = subprocess.run(
            [*enter, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=seconds(60),
        )
        assert not check or done.returncode == 0, (command, done.stdout)
        return done.stdout.strip()

    def state(self, unit: str) -> str:
        """Return a unit's state, such as active or failed."""
        return self.run("systemctl", "is-active", unit, check=False)

    def drop_in(self, unit: str, text: str) -> None:
        """Write a unit's drop-in, as `systemctl edit` does."""
        folder = self.root / "etc/systemd/system" / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        (folder / "override.conf").write_text(text)
        self.run("systemctl", "daemon-reload")


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot the system, over a copy-on-write layer in `folder` that is gone afterwards."""
    group = _cgroups() / f"echo-{os.getpid()}"
    group.mkdir()
    enter = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
    unshare = ("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork")
    command = [*unshare, "--kill-child", "bash", "-c", BOOT, ROOT, folder]
    try:
        with subprocess.Popen(["bash", "-c", enter, "enter", *command]) as process:
            try:
                pid = wait_until(lambda: _child(process.pid), 20, "its init")
                machine = Machine(pid)
                wait_until(lambda: machine.state("multi-user.target") == "active", 60, "it is up")
                yield machine
            finally:
                process.kill()
    finally:
        wait_until(lambda: _removed(group), 20, "its processes are gone")


def _cgroups() -> Path:
    """Return where this system's cgroups of version 2 are."""
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return next((Path(row[1]) for row in rows if row[2] == "cgroup2"), None) or pytest.skip(
        "no cgroups of version 2 here"
    )


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().strip() == "systemd"]
    return named[0] if named else 0


def _removed(group: Path) -> bool:
    """Remove a cgroup and those in it, and say whether that was possible."""
    try:
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)  # noqa: PTH106 - a path of os.walk
    except OSError:
        return not group.exists()
    return True
