"""`echod serve` as a person starts it: on a terminal, in a pipe, with settings from a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient
from tests import vocabulary
from tests.cli.test_connect import Terminal
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process import DaemonProcess

SERVE = [sys.executable, "-m", "echo", "serve", "--port", "0"]


def test_a_terminal_shows_events_in_colour(tmp_path: Path) -> None:
    """On a terminal each event shows readably, beside the JSON log."""
    log = tmp_path / "echo.jsonl"
    terminal = Terminal([*SERVE, "--log-file", str(log)], tmp_path)
    wait_until(lambda: b"server.started" in terminal.screen)
    terminal.process.send_signal(signal.SIGTERM)

    assert terminal.end() == 0
    assert b"\x1b[" in terminal.screen
    assert b"server.stopped" in terminal.screen
    assert vocabulary.parse(log.read_bytes())[-1]["event"] == "server.stopped"


def test_the_log_may_be_standard_output() -> None:
    """With `--log-file -` stdout has the JSON lines and nothing else has anything."""
    process = subprocess.Popen(
        [*SERVE, "--log-file", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    (started,) = vocabulary.parse(first)
    with EchoClient("127.0.0.1", started["port"]) as client:
        client.echo(b"hello")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=seconds(60))
    lines = vocabulary.parse(first + rest)

    assert (process.returncode, errors) == (0, b"")
    vocabulary.check(lines)
    vocabulary.check_totals(lines)


def test_a_closed_standard_output_can_t_be_the_log() -> None:
    """A log on a closed standard output is an error at the start."""
    done = subprocess.run(
        [*SERVE, "--log-file", "-"],
        preexec_fn=lambda: os.close(1),
        stderr=subprocess.PIPE,
        timeout=seconds(60),
        check=False,
    )

    assert done.returncode == 73
    assert b"standard output is closed" in done.stderr


def test_a_daemon_needs_no_standard_descriptors(tmp_path: Path) -> None:
    """With all three closed, as some supervisors start one, it serves."""

    def close_all() -> None:
        for number in range(3):
            os.close(number)

    log = tmp_path / "echo.jsonl"
    process = subprocess.Popen([*SERVE, "--log-file", str(log)], preexec_fn=close_all)
    wait_until(lambda: log.exists() and b"server.started" in log.read_bytes())
    (started,) = vocabulary.parse(log.read_bytes())
    with EchoClient("127.0.0.1", started["port"]) as client:
        echo = client.echo(b"hello")
    process.send_signal(signal.SIGTERM)

    assert echo == b"hello"
    assert process.wait(seconds(60)) == 0


def test_where_it_listens_is_printed(tmp_path: Path) -> None:
    """Without a terminal one line has the address, so that `--port 0` can be used; and no more."""
    process = subprocess.Popen(
        SERVE, cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    with EchoClient("127.0.0.1", int(line.split()[5].rstrip(","))) as client:
        echo = client.echo(b"hello")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=seconds(60))

    assert echo == b"hello"
    assert line.startswith("echod: listening on 127.0.0.1 port ")
    assert line.endswith(", log in logs/echo.jsonl\n")
    assert (process.returncode, rest) == (0, b"")


@pytest.mark.parametrize("take", [b"", b"full"])
def test_an_output_that_nobody_reads_is_no_obstacle(take: bytes, tmp_path: Path) -> None:
    """A reader that has left, or that never reads, does not keep the daemon from serving."""
    reader, writer = os.pipe()
    if take:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(65536))
        os.set_blocking(writer, True)
    else:
        os.close(reader)
    log = tmp_path / "echo.jsonl"
    process = subprocess.Popen([*SERVE, "--log-file", str(log)], stdout=writer)
    os.close(writer)
    wait_until(lambda: log.exists() and b"server.started" in log.read_bytes())
    process.send_signal(signal.SIGTERM)

    assert process.wait(seconds(60)) == 0
    if take:
        os.close(reader)


def test_localhost_is_where_all_clients_look(daemon: Callable[..., DaemonProcess]) -> None:
    """A name of both loopbacks is served on 127.0.0.1, which every client tries."""
    process = daemon("--host", "localhost")
    with EchoClient("127.0.0.1", process.port) as client:
        echo = client.echo(b"hello")

    assert echo == b"hello"
    assert process.started["host"] == "127.0.0.1"


def test_a_log_in_the_home_folder(tmp_path: Path) -> None:
    """`~` is the home, also where no shell has replaced it, as in a file."""
    (tmp_path / "echod.toml").write_text("[serve]\nport = 0\nlog-file = '~/logs/here.jsonl'\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "echo", "--config", "echod.toml", "serve"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    log = tmp_path / "logs" / "here.jsonl"
    wait_until(lambda: log.exists() and b"server.started" in log.read_bytes())
    process.send_signal(signal.SIGTERM)

    assert process.wait(seconds(60)) == 0


def test_settings_come_from_flags_then_environment_then_file(
    daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """A flag wins over the environment, which wins over the file, which wins over the default."""
    settings = tmp_path / "echod.toml"
    settings.write_text("[serve]\nmax-sessions = 7\nidle-timeout = 8\nmax-bytes = 9\n")
    process = daemon(
        *("--config", str(settings), "--max-sessions", "5"), env={"ECHOD_IDLE_TIMEOUT": "6"}
    )
    limits = process.started["limits"]

    assert (limits["max_sessions"], limits["idle_timeout"], limits["max_bytes"]) == (5, 6, 9)
    assert limits["write_timeout"] == 60
