"""Run the load generator against a server, and read its result."""

import contextlib
import json
import subprocess
from collections.abc import Iterator

from benchmarks.build import LOADGEN
from benchmarks.servers import Server

LIMIT_S = 60  # what is not finished after this, a peer can't do
GRACE_S = 10

Figures = dict[str, float]


class LoadError(Exception):
    """The generator's own line on what went wrong, such as a byte that came back changed."""


def load(mode: str, server: Server, **options: float) -> Figures:
    """Run one mode to its end, and return the figures it prints.

    Raises:
        LoadError: a byte differed, a session broke, or `LIMIT_S` was over.

    """
    done = subprocess.run(
        command(mode, server, options), capture_output=True, text=True, timeout=LIMIT_S + GRACE_S
    )
    return result(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def held(server: Server, sessions: int) -> Iterator[None]:
    """Keep verified sessions open and idle for the length of a ``with`` block.

    Raises:
        LoadError: they could not all be opened, or did not all end cleanly.

    """
    words = command("hold", server, {"sessions": sessions})
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            await_ready(process)
            yield
            end(process)
        finally:
            process.kill()


def await_ready(process: subprocess.Popen[str]) -> None:
    """Wait for the line that says that all sessions are open; the generator's limit bounds it."""
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Close the generator's stdin, upon which it closes its sessions, and see that it did well."""
    stdout, stderr = process.communicate(timeout=LIMIT_S + GRACE_S)
    result(process.returncode, stdout, stderr)


def command(mode: str, server: Server, options: dict[str, float]) -> list[str]:
    """Return the generator's words: two threads for more than one session, or it is the limit."""
    threads = 2 if options.get("sessions", 1) > 1 else 1
    fixed = {"port": server.port, "server-pid": server.pid, "threads": threads, "limit": LIMIT_S}
    words = [LOADGEN.as_posix(), mode]
    for name, value in (fixed | options).items():
        words += [f"--{name}", str(value)]
    return words


def result(code: int, stdout: str, stderr: str) -> Figures:
    """Return the figures of a run that ended well."""
    if code != 0:
        raise LoadError(stderr.strip() or f"loadgen ended with {code}")
    figures: Figures = json.loads(stdout)
    return figures
