"""What can't be started: one line that says what to do, the right code, and nothing is left."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.authority import Authority
from tests.waiting import seconds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.peers import Start

# Of linux/prctl.h and linux/capability.h.
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


def serve(folder: Path, *flags: str) -> tuple[int, bytes]:
    """Try to start a daemon; give its code and its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "echo", "serve", *flags],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=seconds(60),
        preexec_fn=obey_permissions,
    )
    assert done.stdout == b""
    assert not any(path.stat().st_size for path in folder.glob("logs/*")), "it has served"
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        ("--port 0 --idle-timeout nan", 2, b"--idle-timeout must be at least 0"),
        ("--port 0 --cpu 4096", 78, b"--cpu 4096 can't be used"),
        ("--port 0 --log-file file/echo.jsonl", 73, b"name another with --log-file"),
        ("--port 0 --log-file .", 73, b"name another with --log-file"),
        ("--config deep.toml", 78, b"deep.toml is not TOML"),
    ],
)
def test_a_bad_flag(tmp_path: Path, flags: str, code: int, says: bytes) -> None:
    """A mistake in the flags, the log's path or the settings."""
    (tmp_path / "file").touch()
    (tmp_path / "deep.toml").write_text("serve = " + "[" * 100_000)
    got, stderr = serve(tmp_path, *flags.split())

    assert got == code
    assert stderr.startswith(b"echod: ")
    assert stderr.count(b"\n") == 1
    assert says in stderr


def test_a_taken_port(tmp_path: Path) -> None:
    """The line says how to get another; the one who has the port is not disturbed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, stderr = serve(tmp_path, "--port", str(port))
        with socket.create_connection(("127.0.0.1", port)) as sock:
            accepted, _ = other.accept()
            accepted.close()
            rest = sock.recv(1)

    assert code == 69
    assert stderr == (
        b"echod: serve: can't listen on 127.0.0.1 port %d: Address already in use; another "
        b"program has the port: stop it, or choose another with --port (0 picks one)\n" % port
    )
    assert rest == b""
    assert (tmp_path / "logs" / "echo.jsonl").read_bytes() == b""


def test_a_log_folder_that_is_not_writable(tmp_path: Path) -> None:
    """The line names the log, says why, and what to do."""
    (tmp_path / "logs").mkdir(mode=0o555)
    code, stderr = serve(tmp_path, "--port", "0")

    assert code == 73
    assert stderr == (
        b"echod: serve: can't open the log logs/echo.jsonl: Permission denied; "
        b"name another with --log-file, or - for standard output\n"
    )


def test_an_unreadable_certificate(tmp_path: Path) -> None:
    """Each of the files that nobody may read is named, with the reason, and no port is taken."""
    cert, key = Authority(tmp_path / "tls").issue("server")
    flags = ("--port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    for file in (cert, key):
        file.chmod(0)
        code, stderr = serve(tmp_path, *flags)
        file.chmod(0o600)

        assert code == 78
        assert stderr.startswith(b"echod: ")
        assert b"Permission denied" in stderr
        assert str(file).encode() in stderr
        assert stderr.count(b"\n") == 1
        assert not (tmp_path / "logs").exists()


def obey_permissions() -> None:
    """Drop root's right to read and write all, for this process and what it becomes."""
    for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, right, 0, 0, 0)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_without_standard_streams(daemon: Start, closed: tuple[int, ...]) -> None:
    """A daemon that was started without them serves; no client gets what is printed."""
    process = daemon(before=lambda: [os.close(fd) for fd in closed])
    with process.client() as client:
        client.echo(b"hello")
    process.wait_for("session.closed")

    assert process.stop() == 0
