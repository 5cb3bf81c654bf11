"""Each error that accept(2) can return: ignored, backed off, or fatal, by its class."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.server.sockets import GONE_BEFORE_ACCEPT, OUT_OF_CAPACITY
from tests.faults.peers import echoes
from tests.faults.test_descriptors import cpu_share
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start

# What accept(2) names, in its page and in the kernel, by what has to be done about it.
GONE = [
    "EAGAIN",
    "ECONNABORTED",
    "ECONNRESET",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EINTR",
    "ENETDOWN",
    "ENETUNREACH",
    "ENONET",
    "ENOPROTOOPT",
    "EOPNOTSUPP",
    "EPERM",
    "EPROTO",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "ETIMEDOUT",
]
FULL = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSR"]
FATAL = ["EBADF", "EFAULT", "EINVAL", "ENOTSOCK"]


def test_every_error_has_its_class() -> None:
    """What the manual page of accept(2) names, in the lists here, is what the server knows."""
    assert {getattr(errno, name) for name in GONE} == GONE_BEFORE_ACCEPT
    assert {getattr(errno, name) for name in FULL} == OUT_OF_CAPACITY


def test_a_connection_that_is_gone_is_ignored(daemon: Start, connect: Peers) -> None:
    """What is wrong with one connection is no concern of the next, and of no log."""
    process = daemon(fault=f"accept:{','.join(GONE)}")
    answer = echoes(connect(process.port))
    connect.close()
    process.wait_for("session.closed")

    assert answer
    assert [line["event"] for line in process.lines()] == [
        "server.started",
        "session.accepted",
        "session.closed",
    ]


def test_an_error_that_stays_takes_no_processor(daemon: Start, connect: Peers) -> None:
    """An error for each connection, for ever, leaves the processor alone and can be stopped."""
    process = daemon(fault="accept:EPERM*")
    connect(process.port)
    wait_until(lambda: cpu_share(process) < 0.1)

    assert process.stop() == 0


def test_without_capacity_it_waits(daemon: Start, connect: Peers) -> None:
    """Each time there is one line on the way in, that says of what, and one on the way out."""
    # The second "ok" finds nobody waiting, which is what calls it over.
    process = daemon(fault=f"accept:{','.join(f'{name},{name},ok,ok' for name in FULL)}")
    answers = []
    for number, _ in enumerate(FULL, start=1):
        answers.append(echoes(connect(process.port)))
        process.wait_for("accept.resumed", number)  # or the next client would be there for it
    named = [line["error"] for line in process.events("accept.exhausted")]

    assert all(answers)
    assert [name.rpartition(" ")[2] for name in named] == FULL


def test_a_broken_listener_ends_the_daemon(daemon: Start, connect: Peers) -> None:
    """Alive but deaf is the one thing it never is: it says why, and ends with a code."""
    processes = [daemon(fault=f"accept:{name}") for name in FATAL]
    for process in processes:
        process.expect_code, process.expect_errors = 70, 1
        with suppress(ConnectionResetError):  # it may end before the peer sees that it connected
            connect(process.port)
    codes = [process.wait() for process in processes]
    errors = [process.events("server.error")[0] for process in processes]
    reasons = {process.events("server.stopped")[0]["reason"] for process in processes}

    assert codes == [70] * len(FATAL)
    assert {error["where"] for error in errors} == {"accept loop"}
    assert [error["error"].rpartition(" ")[2] for error in errors] == FATAL
    assert reasons == {"error"}
