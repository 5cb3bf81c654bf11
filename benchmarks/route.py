"""The route of one session through the code: calls and changes of file, for each thread.

`python -m benchmarks.route` prints, for the accept thread and for the session's own, each call
into `echo/` that one client with one message makes (Python loop, no TLS, no PROXY protocol), and
how often the next call is in another file: what a reader has to follow. The log is one that only
keeps its events, so that the route ends where the log begins.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import echo
import structlog
from echo import EchoClient, EchoHandler, EchoServer

if TYPE_CHECKING:
    from types import FrameType

    Call = tuple[str, str]

ROOT = Path(echo.__file__).parent
THREADS = {"accept": "accept thread", "session-1": "session's thread"}


def route() -> dict[str, list[Call]]:
    """Return the calls of each thread, as pairs of a file below `echo/` and a function."""
    calls: dict[str, list[Call]] = defaultdict(list)

    def note(frame: FrameType, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and ROOT in file.parents:
            name = threading.current_thread().name
            calls[name].append((str(file.relative_to(ROOT)), frame.f_code.co_name))

    log = structlog.testing.CapturingLogger()
    with EchoServer(("127.0.0.1", 0), EchoHandler, log=log) as server:
        threading.setprofile(note)
        threading.Thread(target=server.serve_forever, name="accept").start()
        _one_session(server)  # which starts the session thread
        calls.clear()
        _one_session(server)
        threading.setprofile(None)
        found = {name: list(calls[name]) for name in THREADS}
        server.drain(5)
    return found


def _one_session(server: EchoServer) -> None:
    """Run a session, and wait until its thread and the accept thread are idle again."""
    closed = server.sessions.totals.closed
    with EchoClient(*server.server_address[:2]) as client:
        client.echo(b"hello")
    pause = threading.Event()
    while server.sessions.totals.closed == closed or server.sessions.live():
        pause.wait(0.01)
    pause.wait(0.1)


def changes(calls: list[Call]) -> int:
    """Return how often a call is in another file than the one before."""
    return sum(before[0] != after[0] for before, after in pairwise(calls))


def main() -> int:
    """Print the routes."""
    for name, calls in route().items():
        lines = [f"{THREADS[name]}: {len(calls)} calls, {changes(calls)} changes of file"]
        lines += [f"  {file:24} {function}" for file, function in calls]
        sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
