"""`echod connect` as people use it: in a pipe, and on a terminal."""

from __future__ import annotations

import os
import pty
import random
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.client.test_client import answer, one_session
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from echo.testing import RunningServer

MIB = 1024 * 1024


def command(address: tuple[str, int], *flags: str) -> list[str]:
    """Return the command line for an address."""
    return [sys.executable, "-m", "echo", "connect", address[0], str(address[1]), *flags]


def piped(address: tuple[str, int], data: bytes, *flags: str) -> subprocess.CompletedProcess[bytes]:
    """Run it in a pipe."""
    return subprocess.run(
        command(address, *flags), input=data, capture_output=True, timeout=seconds(60), check=False
    )


# -- in a pipe ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16 * MIB + 1])
def test_a_pipe_comes_back(server: RunningServer, size: int) -> None:
    """Stdin comes back on stdout, whatever is in it and however much."""
    data = random.Random(size).randbytes(size)
    done = piped(server.address, data)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_a_wrong_echo_is_exit_code_1() -> None:
    """A difference is one line with the offset."""
    with one_session(answer(b"onE")) as address:
        done = piped(address, b"one")

    assert done.returncode == 1
    assert done.stderr == (
        b"echod: connect: the echo differs at offset 2: expected 0x65, got 0x45\n"
    )


def test_a_server_of_another_kind_is_doubted() -> None:
    """A first byte that differs raises the question whether the server is an echo server."""
    with one_session(answer(b"HTTP/1.1 400 Bad Request")) as address:
        done = piped(address, b"one")

    assert done.returncode == 1
    assert b"at offset 0: expected 0x6f, got 0x48; is an echo server running" in done.stderr


def test_an_early_end_is_exit_code_1() -> None:
    """A missing byte is one line with the offset."""
    with one_session(answer(b"on")) as address:
        done = piped(address, b"one")

    assert done.returncode == 1
    assert b"ended the stream at offset 2, with 1 byte missing" in done.stderr


def test_what_is_not_verified_passes() -> None:
    """`--no-verify` passes on whatever comes."""
    with one_session(answer(b"something else")) as address:
        done = piped(address, b"one", "--no-verify")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"something else", b"")


def test_a_reader_that_has_seen_enough_is_no_traceback(server: RunningServer) -> None:
    """A closed output ends it quietly; exit code 1, since not all of the echo was seen."""
    process = subprocess.Popen(
        command(server.address),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(b"hello", timeout=seconds(60))

    assert process.returncode == 1
    assert err == b""


def test_an_input_that_can_t_be_read_is_named(server: RunningServer, tmp_path: Path) -> None:
    """A standard input that is open for writing only is one line."""
    with (tmp_path / "file").open("wb") as file:
        done = subprocess.run(
            command(server.address),
            stdin=file,
            capture_output=True,
            timeout=seconds(60),
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == b"echod: connect: can't read standard input: Bad file descriptor\n"


UNREACHABLE = """
import socket, sys
from echo.cli import main

def recv(*_):
    raise OSError(113, "No route to host")

socket.socket.recv = recv
sys.exit(main(sys.argv[1:]))
"""


def test_a_network_that_fails_in_the_middle_is_named(server: RunningServer) -> None:
    """What the system says of the connection is one line, and is not said of the input."""
    done = subprocess.run(
        [sys.executable, "-c", UNREACHABLE, *command(server.address)[3:]],
        input=b"hello",
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == b"echod: connect: the connection failed: No route to host\n"


def test_a_closed_input_is_named(server: RunningServer) -> None:
    """Without standard input there is nothing to send: say so."""
    done = subprocess.run(
        command(server.address),
        preexec_fn=lambda: os.close(0),
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )

    assert done.returncode == 1
    assert b"standard input or output is closed" in done.stderr


# -- on a terminal ------------------------------------------------------------------------


class Terminal:
    """A process on a pseudo-terminal; `screen` is all that it has shown."""

    def __init__(self, arguments: list[str], home: Path, stdout: int | None = None) -> None:
        self.master, slave = pty.openpty()
        self.screen = b""
        self._seen = 0
        self.process = subprocess.Popen(
            arguments,
            stdin=slave if stdout is None else subprocess.PIPE,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env={**os.environ, "HOME": str(home), "TERM": "xterm", "XDG_STATE_HOME": ""},
            start_new_session=True,
            # A shell that starts the tests in the background ignores INT, which is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.master, 65536):
                self.screen += data
        except OSError:  # the last user of the terminal has left
            return

    def type(self, text: bytes, then: bytes) -> None:
        """At a prompt, type, and wait for what is shown then."""
        wait_until(lambda: b"> " in self.screen[self._seen :], what=f"a prompt, {self.screen!r}")
        self._seen = len(self.screen)
        os.write(self.master, text)
        wait_until(lambda: then in self.screen[self._seen :], what=f"{then!r}, {self.screen!r}")
        self._seen = self.screen.index(then, self._seen)

    def end(self) -> int:
        """Wait for its end, and give its exit code."""
        code = self.process.wait(seconds(60))
        self._reader.join(seconds(60))
        os.close(self.master)
        return code


def test_lines_on_a_terminal(server: RunningServer, tmp_path: Path) -> None:
    """Each line is sent and comes back, with the counts; Ctrl-D ends; the history is kept."""
    terminal = Terminal(command(server.address), tmp_path)
    terminal.type(b"hello\n", b"received 6 bytes: hello")
    terminal.type("Zoë\n".encode(), "received 5 bytes: Zoë".encode())
    terminal.type(b"\n", b"received 1 byte")
    terminal.type(b"\x1b[A\x1b[A\n", b"received 6 bytes: hello")  # the arrow key recalls it
    terminal.type(b"\x04", b"18 bytes sent, all came back")

    assert terminal.end() == 0
    assert b"connected to 127.0.0.1 port" in terminal.screen
    assert b"sent 6 bytes" in terminal.screen
    assert "Zoë" in (tmp_path / ".local/state/echod/history").read_text()


def test_long_lines_go_in_messages(server: RunningServer, tmp_path: Path) -> None:
    """At most `--message-size` bytes go at once, and a NUL ends each line if asked for."""
    terminal = Terminal(
        command(server.address, "--message-size", "4", "--terminator", "nul"), tmp_path
    )
    terminal.type(b"abcdef\n", b"received 3 bytes: ef")
    terminal.type(b"\x04", b"7 bytes sent")

    assert terminal.end() == 0
    assert b"received 4 bytes: abcd" in terminal.screen


def test_no_terminator_sends_the_line_alone(server: RunningServer, tmp_path: Path) -> None:
    """With `--terminator none` an empty line sends nothing."""
    terminal = Terminal(command(server.address, "--terminator", "none"), tmp_path)
    terminal.type(b"\n", b"> ")
    terminal.type(b"abc\n", b"received 3 bytes: abc")
    terminal.type(b"\x04", b"3 bytes sent")

    assert terminal.end() == 0


def test_a_server_can_t_draw_on_the_terminal(tmp_path: Path) -> None:
    """What comes back is shown harmlessly: it is compared before it is shown."""
    with one_session(answer(b"\x1b[2J\n")) as address:
        terminal = Terminal(command(address), tmp_path)
        terminal.type(b"\x16\x1b[2J\n", b"received 5 bytes: \\x1b[2J")
        terminal.type(b"\x04", b"all came back")

        assert terminal.end() == 0


def test_a_wrong_answer_ends_the_talk(tmp_path: Path) -> None:
    """A server that answers something else is exit code 1."""
    with one_session(answer(b"hallo\n")) as address:
        terminal = Terminal(command(address), tmp_path)
        terminal.type(b"hello\n", b"the echo differs at offset 1: expected 0x65, got 0x61")

        assert terminal.end() == 1


def test_what_was_sent_is_shown_before_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of a talk keep their order, with PYTHONUNBUFFERED, too."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with one_session(answer(b"hallo\n")) as address:
        terminal = Terminal(command(address), tmp_path)
        terminal.type(b"hello\n", b"the echo differs")
        terminal.end()

    assert terminal.screen.index(b"sent 6 bytes") < terminal.screen.index(b"the echo differs")


def test_an_interrupt_ends_the_talk(server: RunningServer, tmp_path: Path) -> None:
    """INT at the prompt is the end, without a traceback; the shell's prompt has its own line."""
    terminal = Terminal(command(server.address), tmp_path)
    wait_until(lambda: b"> " in terminal.screen)
    terminal.process.send_signal(signal.SIGINT)

    assert terminal.end() == 130
    assert b"Traceback" not in terminal.screen
    assert terminal.screen.endswith(b"\n")


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_a_stream_shows_its_progress(server: RunningServer, tmp_path: Path, size: int) -> None:
    """With stderr on a terminal a bar shows how much has come back, and stdout has the bytes."""
    data = random.Random(1).randbytes(size)
    with (tmp_path / "out").open("wb") as out:
        terminal = Terminal(command(server.address), tmp_path, stdout=out.fileno())
        assert terminal.process.stdin is not None
        with terminal.process.stdin as stdin:
            stdin.write(data)
        code = terminal.end()

    assert code == 0
    assert (tmp_path / "out").read_bytes() == data
    assert b"echo" in terminal.screen


def test_a_file_s_progress_has_a_total(server: RunningServer, tmp_path: Path) -> None:
    """Where the input is a file, the bar knows the whole."""
    (tmp_path / "in").write_bytes(bytes(2 * MIB))
    line = " ".join(command(server.address))
    process = subprocess.run(
        ["script", "-qec", f"cd {tmp_path} && {line} < in > out", "/dev/null"],
        capture_output=True,
        timeout=seconds(60),
        check=False,
    )

    assert process.returncode == 0
    assert b"2.1/2.1 MB" in process.stdout
    assert (tmp_path / "out").read_bytes() == bytes(2 * MIB)


def test_localhost_is_found_by_either_family(server: RunningServer) -> None:
    """A name with an IPv6 and an IPv4 address reaches a server that has only one."""
    assert socket.getaddrinfo("localhost", None)

    done = piped(("localhost", server.address[1]), b"hi")

    assert done.stdout == b"hi"


def test_descriptors_that_somebody_made_non_blocking(server: RunningServer) -> None:
    """Input that isn't there yet, and output that has no room yet, are waited for."""
    data = random.Random(7).randbytes(MIB)
    (source, feed), (drain, target) = os.pipe(), os.pipe()
    for descriptor in (source, target):
        os.set_blocking(descriptor, False)
    process = subprocess.Popen(command(server.address), stdin=source, stdout=target)
    os.close(source)
    os.close(target)
    wait_until(lambda: server.log.named("session.accepted"))  # it has found no input by then
    with open(feed, "wb") as stdin, open(drain, "rb") as stdout:  # noqa: PTH123
        writing = threading.Thread(target=lambda: (stdin.write(data), stdin.close()))  # type: ignore[func-returns-value]
        writing.start()
        writing.join(0.2)  # meanwhile the output fills
        got = stdout.read()
        writing.join(seconds(10))

    assert got == data
    assert process.wait(seconds(60)) == 0


@pytest.mark.parametrize("flag", [("--terminator", "nul"), ("--message-size", "5")])
def test_what_is_for_a_terminal_is_refused_in_a_pipe(
    server: RunningServer, flag: tuple[str, str]
) -> None:
    """An option that would change nothing is a mistake."""
    done = piped(server.address, b"hello", *flag)

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a pipe is sent as it is: leave them out" in done.stderr


def test_one_byte_is_one_byte(server: RunningServer, tmp_path: Path) -> None:
    """Counts agree with their nouns."""
    terminal = Terminal(command(server.address, "--terminator", "none"), tmp_path)
    terminal.type(b"a\n", b"received 1 byte: a")
    terminal.type(b"\x04", b"1 byte sent, all came back")

    assert terminal.end() == 0
    assert b"sent 1 byte\r" in terminal.screen


def test_a_server_that_speaks_first_is_one_line() -> None:
    """What comes back before anything was sent is a wrong echo, however much is being sent."""
    with one_session(lambda sock: (sock.sendall(b"220 hello\r\n"), sock.recv(1))[0]) as address:
        done = piped(address, bytes(8 * MIB))

    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"the echo differs at offset 0" in done.stderr
