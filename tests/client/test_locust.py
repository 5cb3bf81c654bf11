"""The Locust user: the verified exchange, run by Locust's own master and workers."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.testing import running_server
from tests import planted
from tests.process import free_port
from tests.waiting import seconds

if TYPE_CHECKING:
    from typing import Any

if importlib.util.find_spec("locust") is None:
    pytest.skip("locust is not installed (the extra of that name)", allow_module_level=True)

pytestmark = pytest.mark.once  # its processes are Locust's

DOCUMENT = Path(__file__).parents[2] / "docs" / "tools.md"
# Locust's own start counts, too, which takes a second on a busy machine.
RUN_TIME = f"{round(seconds(4))}s"
LIMITS = {"timeout": seconds(60), "check": False}


def locust(folder: Path, *flags: str) -> list[str]:
    """Return a command line of Locust, for the file that the documentation shows."""
    file = folder / "locustfile.py"
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    file.write_text(code)
    return [sys.executable, "-m", "locust", "--locustfile", str(file), "--headless", *flags]


def figures(output: str) -> dict[str, Any]:
    """Return Locust's figures by the name of the request."""
    return {entry["name"]: entry for entry in json.loads(output)}


def test_two_workers_verify_every_byte(tmp_path: Path) -> None:
    """A master and two workers share the users; what they count is what the server echoed."""
    port = str(free_port())
    with running_server() as server:
        address = f"127.0.0.1:{server.port}"
        where = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
        users = ("--users", "4", "--spawn-rate", "4", "--run-time", RUN_TIME, "--host", address)
        master = subprocess.Popen(
            locust(tmp_path, "--master", "--expect-workers", "2", *where, *users, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        worker = locust(tmp_path, "--master-host", "127.0.0.1", "--master-port", port)
        worker[worker.index("--headless")] = "--worker"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        workers = [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
        try:
            out, _ = master.communicate(timeout=seconds(60))
            codes = [process.wait(seconds(20)) for process in workers]
        finally:
            for process in (master, *workers):
                process.kill()
    found = figures(out)
    sessions = server.log.named("session.closed")

    assert (master.returncode, codes) == (0, [0, 0])
    assert found["connect"]["num_requests"] == len(sessions) == 4
    assert found["echo"]["num_failures"] == 0
    # An exchange that the end of the run cuts short is echoed, and not counted.
    echoed = sum(line["sent_bytes"] for line in sessions)
    assert 0 <= echoed - found["echo"]["total_content_length"] <= 4 * 512


def test_what_goes_wrong_is_a_failure(tmp_path: Path) -> None:
    """A wrong echo, and a connection that can't be had, are failures in Locust's figures."""
    brief = ("--users", "1", "--run-time", RUN_TIME, "--json")
    with planted.planted(planted.sends_more) as (host, port):
        wrong = subprocess.run(
            locust(tmp_path, "--host", f"{host}:{port}", *brief),
            capture_output=True,
            text=True,
            **LIMITS,  # type: ignore[call-overload]
        )
    refused = subprocess.run(
        locust(tmp_path, "--host", f"tcp://127.0.0.1:{free_port()}", *brief),
        capture_output=True,
        text=True,
        **LIMITS,  # type: ignore[call-overload]
    )
    echo, connect = figures(wrong.stdout)["echo"], figures(refused.stdout)["connect"]

    assert (wrong.returncode, refused.returncode) == (1, 1)
    assert echo["num_failures"] == echo["num_requests"] > 0
    assert connect["num_failures"] == connect["num_requests"] > 0


def test_the_host_may_be_written_as_locust_s_page_suggests(tmp_path: Path) -> None:
    """A scheme before it and a slash after it are skipped."""
    with running_server() as server:
        done = subprocess.run(
            locust(
                tmp_path,
                *("--host", f"http://127.0.0.1:{server.port}/"),
                *("--users", "1", "--run-time", RUN_TIME, "--json"),
            ),
            capture_output=True,
            text=True,
            **LIMITS,  # type: ignore[call-overload]
        )
    echo = figures(done.stdout)["echo"]

    assert done.returncode == 0, done.stderr
    assert echo["num_requests"] > echo["num_failures"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "127.0.0.1:nope"])
def test_a_host_that_can_t_be_is_one_line_and_the_end(host: str, tmp_path: Path) -> None:
    """The run ends before each user fails in turn."""
    done = subprocess.run(
        locust(tmp_path, "--host", host, "--users", "3"),
        capture_output=True,
        text=True,
        **LIMITS,  # type: ignore[call-overload]
    )

    assert done.returncode == 1
    assert done.stderr.count(f"can't use the host {host}: the port must be ") == 1
    assert "Traceback" not in done.stderr
