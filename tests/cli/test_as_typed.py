"""Command lines as people type them, each in a process of its own, with the answers they expect."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.authority import Authority
from tests.process import DaemonProcess
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHOD = Path(sys.executable).with_name("echod")

# What is typed, the exit code, and what is shown for it, on whichever stream. {port} is a
# daemon's, {tls} that of one that speaks TLS, {free} nobody's. TLS may take 64 random bytes for a
# part of a record, and wait for the rest: with 64 KiB there is one.
LINES = """
echod                                                       | 0 | Usage: echod COMMAND
echod --version                                             | 0 | 0.
echod help                                                  | 0 | Commands:
echod help ping                                             | 0 | Usage: echod ping
echod ping -h                                               | 0 | -c, --count NUMBER
echod pnig                                                  | 2 | Did you mean "ping"?
echod ping --cuont 3                                        | 2 | Did you mean --count?
echod ping -z                                               | 2 | See echod ping --help
echod ping -4 -c 1 localhost:{port}                         | 2 | Unknown option: -4. See
echod ping -c 1 localhost:{port}                            | 0 | 1 sent, 1 received
echod ping -c 1 -q -s 1k 127.0.0.1 {port}                   | 0 | 0 lost (0%)
echod ping --count 1 --port {port}                          | 0 | PING 127.0.0.1 port {port}
ECHOD_PORT={port} echod ping -c 1 -i 0.2                    | 0 | 1 received
echod ping -c 1 tcp://127.0.0.1:{port}/                     | 0 | 1 received
echod ping -c 1 127.0.0.1:{free}                            | 1 | is an echo server running there?
echod ping -c 1 no.such.host.invalid                        | 2 | check the name
echod ping -c 1 127.0.0.1:{port} 9000                       | 2 | the port is given twice
echod ping -c 1 127.0.0.1 {port} 9000                       | 2 | unexpected argument: 9000
echod ping -c 1 127.0.0.1 nosuchservice                     | 2 | the name of a service
echod ping -c 1 --tls localhost:{port}                      | 1 | doesn't speak TLS: leave --tls out
echod ping -c 1 -s 64k localhost:{tls}                      | 1 | add --tls
echod ping -c 1 -i 0 127.0.0.1:{port} | head -1             | 0 | PING
echo hello | echod connect :{port}                          | 0 | hello
echo hello | echod connect localhost:{tls}                  | 1 | add --tls
echo hi | echod connect :{port} --terminator nul            | 2 | leave them out
seq 100000 | echod connect localhost {port} | tail -1       | 0 | 100000
echod connect no.such.host.invalid </dev/null               | 2 | check the name
echod load localhost:{port} --duration 200ms --size 1k      | 0 | exchanges
echod load :{port} --duration 5x                            | 2 | 200ms, 5m or 1h30m
echod load localhost:{free} --duration 1s                   | 1 | Connection refused
echod fuzz :{port} --max-size 1k --max-examples 4 --deadline 20s | 0 | every echo came back right
echod serve --port 99999                                    | 2 | --port
echod serve -p {port}                                       | 69 | another program has the port
echod serve --host 192.0.2.1                                | 69 | can't listen on 192.0.2.1
echod serve --idle-timeout soon                             | 2 | 5m or 1h30m
echod serve --max-bytes 64Q                                 | 2 | 64k or 1.5M
echod serve --fault explode                                 | 2 | none of delay, jitter
printf '[srve]' > e.toml; echod serve --config e.toml       | 78 | no command has the table [srve]
echod demo --fast | head -2                                 | 0 | One echo server
echod top http://127.0.0.1:{free}                           | 1 | can't read
echod top :{free}                                           | 1 | can't read http://127.0.0.1:{free}/sessions
echod top {free}                                            | 1 | can't read http://127.0.0.1:{free}/sessions
echod logs query                                            | 2 | See echod logs query --help
echod logs show nowhere.jsonl                               | 1 | No such file
"""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Run a daemon, and one that speaks TLS; and keep a port at which nobody listens."""
    folder = tmp_path_factory.mktemp("typed")
    cert, key = Authority(folder / "tls").issue("server")
    with ExitStack() as stack:
        daemons = []
        for number, flags in enumerate(((), ("--tls-cert", str(cert), "--tls-key", str(key)))):
            (folder / str(number)).mkdir()
            daemons.append(DaemonProcess(folder / str(number), *flags))
            stack.callback(daemons[-1].check_and_stop)
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        yield {
            "port": daemons[0].port,
            "tls": daemons[1].port,
            "free": closed.getsockname()[1],
        }


@pytest.mark.parametrize("line", [line for line in LINES.splitlines() if line])
def test_a_line_is_answered_as_people_expect(
    line: str, ports: dict[str, int], tmp_path: Path
) -> None:
    """The exit code, the answer, and never a traceback or a fault of echod's."""
    typed, code, shown = (part.strip() for part in line.rsplit(" | ", 2))
    done = subprocess.run(
        ["bash", "-c", typed.format(**ports)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{ECHOD.parent}:{os.environ['PATH']}", "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds(60),
        check=False,
    )

    assert (done.returncode, shown.format(**ports) in done.stdout) == (int(code), True), done.stdout
    assert "Traceback" not in done.stdout
    assert "a fault in echod itself" not in done.stdout
    assert "Broken pipe" not in done.stdout
