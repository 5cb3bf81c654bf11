"""`docs/operations.md`: its commands do what it says, run as they stand there, in their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.authority import Authority
from tests.debian import need
from tests.deploy.console import ELSEWHERE, SERVING, blocks
from tests.waiting import seconds

if TYPE_CHECKING:
    from tests.deploy.console import Result

pytestmark = pytest.mark.long  # what is deployed is one thing, whatever the Python

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
PROGRAMS = ("curl", "haproxy", "openssl", "promtool", "socat", "sysctl")


def prepare(folder: Path) -> None:
    """Put into a folder what the page takes for granted."""
    (folder / "deploy").symlink_to(ROOT / "deploy")
    authority = Authority(folder)
    for path, name in zip(authority.issue("server"), ("cert.pem", "key.pem"), strict=True):
        path.rename(folder / name)


def run(folder: Path) -> list[Result]:
    """Run the page in a network of its own, where every port is free; give what became of it."""
    machine = ["--unshare-user", "--unshare-net", "--unshare-pid", "--cap-add", "ALL"]
    machine += ["--uid", "0", "--gid", "0", "--dev-bind", "/", "/", "--proc", "/proc"]
    machine += ["--tmpfs", "/run", "--dir", "/run/haproxy", "--die-with-parent"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        [need("bwrap"), *machine, sys.executable, "-m", "tests.deploy.console", str(PAGE)],
        cwd=folder,
        env={
            **os.environ,
            "HOME": str(folder),
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "SHELL": "/bin/bash",
            # As the page says: not everywhere may a test have 40,000 descriptors.
            "ECHOD_MAXCONN": "1000",
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=seconds(250),
    )
    assert done.returncode == 0, done.stderr
    return [(command, code, said) for command, code, said in json.loads(done.stdout)]


@pytest.mark.timeout(seconds(300))
def test_every_command_that_can_be_run_does_what_the_page_says(tmp_path: Path) -> None:
    """Each ends with success, a server when it is asked to; what is shown is there."""
    for program in PROGRAMS:
        need(program)
    prepare(tmp_path)
    results = run(tmp_path)
    said = {command: text for command, _, text in results}
    haproxy = next(result for result in results if result[0].startswith("haproxy"))
    results.remove(haproxy)

    assert [result for result in results if result[1] != 0] == []
    assert haproxy[1] is not None, haproxy
    assert "echod_sessions_active 0.0" in said["curl http://127.0.0.1:9101/metrics"]
    assert said["curl http://127.0.0.1:9101/healthz"].endswith("ok\n")
    assert "3 received" in said["echod ping localhost 9000 --tls --tls-ca ca.pem --count 3"]
    assert [text.strip() for command, text in said.items() if "socat" in command] == ["", ""]
    assert (tmp_path / "logs" / "echo.jsonl.1").exists()
    assert (
        b'"max_sessions":100,'
        in (tmp_path / "logs" / "echo.jsonl").read_bytes()
        + (tmp_path / "logs" / "echo.jsonl.1").read_bytes()
    )


def test_no_command_is_passed_over_unseen() -> None:
    """What the test above leaves out is what can't be run: the machine's own, and no other."""
    commands = [command for block in blocks(PAGE.read_text()) for command in block]
    left_out = [command for command in commands if ELSEWHERE.match(command)]

    assert sum(bool(SERVING.match(command)) for command in commands) >= 8
    assert len(left_out) < len(commands) / 2
