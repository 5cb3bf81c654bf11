"""Who runs: the daemon as a user starts it, and the peers beside it."""

import importlib.util
import shlex
import sys

from benchmarks.build import C_EPOLL, C_THREADS, GO_NET, PEERS
from benchmarks.servers import Contestant

OURS = "ours"
QUIET = "quiet"
"""The daemon again, with the log off: what its log costs is measured against it."""

LOGGED = ("churn-*",)
"""Where a log of two lines a session makes a difference."""

SESSIONS_LIMIT = ("--max-sessions", "12000", "--max-sessions-per-peer", "12000")
SERVE = (
    *(sys.executable, "-m", "echo", "serve", "--port", "{port}"),
    *("--log-file", "{directory}/echo.jsonl", *SESSIONS_LIMIT),
)


def daemon() -> list[Contestant]:
    """Return the daemon, with its log and without."""
    return [
        Contestant(OURS, "echo-daemon", SERVE, logs=True),
        Contestant(QUIET, "echo-daemon, log off", (*SERVE, "--log-level", "error")),
    ]


def stand_in(command: str) -> list[Contestant]:
    """Return another command in the daemon's place; its last word will be the port."""
    return [Contestant(OURS, command, (*shlex.split(command), "{port}"))]


def peers() -> list[Contestant]:
    """Return the peers that this machine can run."""
    found = [
        script("stock", "stock socketserver", "stock_tutorial.py", log=True),
        script("asyncio", "asyncio", "asyncio_protocol.py"),
        script("asyncio-log", "asyncio", "asyncio_logging.py", log=True, workloads=LOGGED),
    ]
    if importlib.util.find_spec("uvloop"):
        found += [
            script("uvloop", "uvloop", "uvloop_protocol.py"),
            script("uvloop-log", "uvloop", "uvloop_logging.py", log=True, workloads=LOGGED),
        ]
    if importlib.util.find_spec("gevent"):
        found.append(script("gevent", "gevent", "gevent_streams.py"))
    found += [
        Contestant("threads", "C, a thread each", (str(C_THREADS), "{port}")),
        Contestant("epoll", "C, epoll", (str(C_EPOLL), "{port}")),
    ]
    if GO_NET.exists():
        found.append(Contestant("go", "Go net", (str(GO_NET), "{port}")))
    return found


def script(
    name: str, title: str, file: str, *, log: bool = False, workloads: tuple[str, ...] = ("*",)
) -> Contestant:
    """Return a peer written in Python, run by this interpreter."""
    words = (sys.executable, str(PEERS / file), "{port}")
    if log:
        words, title = (*words, "{directory}/peer.jsonl"), f"{title}, with a log"
    return Contestant(name, title, words, log, workloads)
