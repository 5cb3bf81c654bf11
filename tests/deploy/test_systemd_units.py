"""The units: how exposed they leave the daemon, and that it runs within what they allow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import echo
from echo.client import EchoClient
from tests.debian import need
from tests.waiting import seconds, wait_until

ROOT = Path(echo.__file__).parents[1]
FOLDER = ROOT / "deploy" / "systemd"
SERVICES = ("echod.service", "echod@.service")
EXPOSURE = "15"  # tenths

# Applies a unit's seccomp filter and its ban on memory that is writable and executable, then
# runs the command: sandbox.py FAMILIES CALLS COMMAND...
SANDBOX = """
import ctypes, os, sys
seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
ALLOW, DENY = 0x7FFF0000, 0x00050001  # with EPERM
context = ctypes.c_void_p(seccomp.seccomp_init(DENY))
for name in sys.argv[1].split():
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        seccomp.seccomp_rule_add(context, ALLOW, number, 0)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, where the kernel has it
assert seccomp.seccomp_load(context) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


def settings(unit: str, name: str) -> list[str]:
    """Return the values of one setting, in their order."""
    lines = (FOLDER / unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


@pytest.mark.parametrize("unit", SERVICES)
def test_the_exposure_is_low(unit: str) -> None:
    """At 1.5 or lower of 10, by systemd's own count."""
    command = [need("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={EXPOSURE}", str(FOLDER / unit)],
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def complaints(folder: Path, unit: str) -> list[str]:
    """Return what systemd says against a unit, and the drop-ins that are in `folder` already."""
    for name in (*SERVICES, "echod.socket"):
        text = (FOLDER / name).read_text().replace("/usr/local/bin/echod", sys.executable)
        (folder / name).write_text(text.replace("Documentation=man:echod(1)\n", ""))
    target = folder / unit.replace("@", "@0")
    target.write_text((folder / unit).read_text())
    command = [need("systemd-analyze"), "verify", "--man=no", str(target)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    # Systemd before 255 passes over this limit, and says so.
    said = [line for line in done.stderr.splitlines() if "'PollLimit" not in line]
    return [line for line in said if "echod" in line or str(folder) in line]


@pytest.mark.parametrize("unit", [*SERVICES, "echod.socket"])
def test_systemd_finds_nothing_wrong(unit: str, tmp_path: Path) -> None:
    """Each setting is known, and each value is one that it can have."""
    assert complaints(tmp_path, unit) == []


@pytest.mark.parametrize("more", ["", "UnheardOf=1\n"])
def test_what_the_page_adds_for_tls_is_valid(more: str, tmp_path: Path) -> None:
    """The drop-in for the certificate is one that systemd takes; a wrong one would be seen."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (drop_in,) = re.findall(r"^```ini\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    folder = tmp_path / "echod.service.d"
    folder.mkdir()
    (folder / "tls.conf").write_text(drop_in + more)

    assert len(complaints(tmp_path, "echod.service")) == more.count("\n")


def test_both_services_have_the_same_sandbox() -> None:
    """What stands below the sandbox's heading is the same line for line."""
    one, other = (
        (FOLDER / unit).read_text().partition("# It needs the network")[2] for unit in SERVICES
    )

    assert one
    assert set(other.splitlines()) - set(one.splitlines()) == {
        "# One user for all of them: only the same user may share a port."
    }


def allowed_calls(unit: str) -> str:
    """Work the unit's SystemCallFilter out, as systemd does: the lines in their order."""
    allowed: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        names = {call for name in line.lstrip("~").split() for call in members(name)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return " ".join(sorted(allowed | members("@default")))


def members(name: str) -> set[str]:
    """Return the system calls of a group, which may hold other groups."""
    if not name.startswith("@"):
        return {name}
    command = [need("systemd-analyze"), "syscall-filter", "--no-pager", name]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found = [line.strip() for line in text.splitlines()[1:] if not line.strip().startswith("#")]
    return {call for entry in found if entry for call in members(entry)}


def sandboxed(folder: Path, *command: str) -> list[str]:
    """Wrap a command as the unit does: no user, no capability, no call that isn't allowed.

    The root is read-only, /home and /root are empty, and /tmp is its own. Of what ProcSubset=pid
    would hide, the one file that echod reads is empty.
    """
    hidden = ("--ro-bind", "/dev/null", "/proc/stat")
    visible = [("--ro-bind", str(p), str(p)) for p in (ROOT, sys.prefix, sys.base_prefix)]
    return [
        *(need("bwrap"), "--unshare-user", "--uid", "65534", "--gid", "65534", "--unshare-ipc"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/root"),
        *("--tmpfs", "/home", *(word for words in visible for word in words)),
        *(hidden if "pid" in settings("echod.service", "ProcSubset") else ()),
        *("--bind", str(folder), str(folder), "--chdir", "/"),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session"),
        *(sys.executable, "-c", SANDBOX, allowed_calls("echod.service"), *command),
    ]


def test_it_runs_within_what_its_unit_allows(tmp_path: Path) -> None:
    """With these system calls alone, and nothing to write to but its log, it serves and stops."""
    serve = [sys.executable, "-m", "echo", "serve", "--port", "0", "--status-port", "0"]
    with subprocess.Popen(
        sandboxed(tmp_path, *serve, "--max-sessions", "50"),
        env={
            # Where tests measure coverage, the sandbox has no place to write it to.
            **{name: value for name, value in os.environ.items() if "COVERAGE" not in name},
            "LOGS_DIRECTORY": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        },
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        log = tmp_path / "echo.jsonl"
        wait_until(
            lambda: (log.exists() and b"\n" in log.read_bytes()) or process.poll() is not None, 60
        )
        assert process.poll() is None, process.communicate()[1]
        facts = json.loads(log.read_bytes().splitlines()[0])
        with EchoClient("127.0.0.1", facts["port"], timeout=seconds(60)) as client:
            assert client.echo(b"hello") == b"hello"
            client.finish()
        address = f"http://127.0.0.1:{facts['status_port']}/metrics"
        with urllib.request.urlopen(address, timeout=seconds(60)) as answer:
            metrics = answer.read()
        processors = os.sched_getaffinity(facts["pid"])
        os.kill(facts["pid"], signal.SIGTERM)
        _, said = process.communicate(timeout=seconds(60))

    assert b"echod_received_bytes_total 5.0" in metrics
    assert b"process_open_fds" in metrics
    assert len(processors) == 1
    assert (process.returncode, said) == (0, b"")
    assert b"server.stopped" in log.read_bytes()


def test_the_sandbox_of_this_test_holds(tmp_path: Path) -> None:
    """What the unit forbids is refused in it: the test above would notice."""
    attempt = (
        "import os, socket\n"
        "for deed in (lambda: open('/etc/x', 'w'), lambda: os.chroot('/'), lambda: os.nice(-1),\n"
        "             lambda: os.sched_rr_get_interval(0) or os.setpriority(0, 0, 5)):\n"
        "    try:\n"
        "        deed()\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    done = subprocess.run(
        sandboxed(tmp_path, sys.executable, "-c", attempt), capture_output=True, check=True
    )

    assert done.stdout.split() == [b"30", b"1", b"1", b"1"]  # EROFS, and EPERM three times
