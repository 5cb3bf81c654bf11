"""Runs a page's console blocks as a reader would, in the folder that it is started in.

`python -m tests.deploy.console PAGE` prints what became of each command as JSON: the command, its
exit code and what it said. Programs that serve go on until the next block that starts some; theirs
is the code that a TERM then gives, or None where they ended before.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.waiting import seconds, wait_until

# They change the machine, or need systemd or a container engine.
ELSEWHERE = re.compile(r"python3 -m venv|/opt/|ln -s /opt/|cp deploy/|systemctl|sudo|docker")
SERVING = re.compile(r"echod (--config \S+ )?serve\b|haproxy\b")
ADMIN = Path("/run/haproxy/admin.sock")

Result = tuple[str, int | None, str]


def blocks(page: str) -> list[list[str]]:
    """Return the commands of each block, with the lines that follow them."""
    return [
        [text.strip() for text in re.split(r"^\$ ", block, flags=re.MULTILINE) if text]
        for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]


class Console:
    """What runs, and what has been said."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._serving: list[tuple[str, subprocess.Popen[str]]] = []

    def run(self, block: list[str]) -> None:
        """Run one block's commands."""
        if any(map(SERVING.match, block)):
            self.stop()
        for command in block:
            if ELSEWHERE.match(command):
                continue
            if command.startswith("cat "):
                name, _, content = command.removeprefix("cat ").partition("\n")
                Path(name).write_text(content)
            elif SERVING.match(command):
                self._serve(command)
            else:
                self._do(command)

    def _serve(self, command: str) -> None:
        before = _starts()
        program, _, then = command.partition(" & ")
        process = subprocess.Popen(
            program.split(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._serving.append((command, process))
        if then:
            self._do(then.replace("$!", str(process.pid)))
        wait_until(lambda: _starts() > before or process.poll() is not None, 60, command)

    def _do(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds(60),
        )
        self.results.append((command, done.returncode, done.stdout))

    def stop(self) -> None:
        """End what serves."""
        for command, process in self._serving:
            early = process.poll() is not None
            process.terminate()
            said, _ = process.communicate(timeout=seconds(60))
            self.results.append((command, None if early else process.returncode, said))
        self._serving.clear()


def _starts() -> int:
    """Count the programs that have come to serve so far."""
    logs = [path.read_bytes() for path in Path("logs").glob("*")]
    return sum(log.count(b"server.started") for log in logs) + ADMIN.exists()


if __name__ == "__main__":
    console = Console()
    for block in blocks(Path(sys.argv[1]).read_text()):
        console.run(block)
    console.stop()
    json.dump(console.results, sys.stdout)
