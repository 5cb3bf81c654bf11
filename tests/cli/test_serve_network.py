"""`echod serve` and `echod connect` on the network: flags that can't be meant, one line each."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from echo.cli import main
from tests.authority import Authority
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["serve", "--tls-cert", "x"], "TLS needs both --tls-cert and --tls-key"),
        (["serve", "--tls-client-ca", "x"], "TLS needs both --tls-cert and --tls-key"),
        (["serve", "--proxy-protocol"], "as in --proxy-from 10.0.0.0/8"),
        (["serve", "--proxy-from", "127.0.0.1"], "of no use without --proxy-protocol"),
        (["serve", "--proxy-protocol", "--proxy-from", "nonsense"], "takes networks"),
        (["serve", "--status-port", "70000"], "status-port"),
        (["connect", "--tls-ca", "x"], "of no use without --tls"),
        (["connect", "--tls", "--tls-client-cert", "x"], "go together"),
    ],
)
def test_flags_that_do_not_fit_are_a_usage_error(
    capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    """Exit code 2, one line that says what is missing, before anything is opened."""
    code = main(flags)
    output = capsys.readouterr()

    assert code == 2
    assert said in output.err
    assert output.err.count("\n") == 1


def test_files_that_can_not_be_used_are_a_configuration_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A certificate that does not match its key, an expired one, none at all: EX_CONFIG."""
    authority = Authority(tmp_path / "tls")
    cert, key = map(str, authority.issue("one"))
    other = str(authority.issue("two")[1])
    old_cert, old_key = map(str, authority.issue("old", days=-1))
    for flags, said in (
        (["serve", "--tls-cert", cert, "--tls-key", other], "key values mismatch"),
        (["serve", "--tls-cert", old_cert, "--tls-key", old_key], "certificate has expired"),
        (["serve", "--tls-cert", "/none", "--tls-key", key], "No such file"),
        (["connect", "--tls", "--tls-ca", "/none"], "No such file"),
        (["connect", "--tls", "--tls-ca", key], "can't use --tls-ca"),
    ):
        code = main(flags)
        output = capsys.readouterr()

        assert code == os.EX_CONFIG
        assert said in output.err
        assert output.err.count("\n") == 1


@pytest.mark.parametrize("flags", [("--loop", "compiled"), ("--fault", "stall")])
def test_what_can_t_speak_tls_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: tuple[str, str]
) -> None:
    """Asking for both is refused at the start, in one line."""
    cert, key = map(str, Authority(tmp_path / "tls").issue("one"))
    code = main(["serve", "--tls-cert", cert, "--tls-key", key, *flags])
    output = capsys.readouterr().err

    assert code == 2
    assert flags[0] in output
    assert "can't speak TLS" in output


def test_a_status_host_that_is_no_name_ends_the_start(tmp_path: Path) -> None:
    """One line, EX_UNAVAILABLE."""
    flags = ["--port", "0", "--status-port", "0", "--status-host", "x" * 70 + ".example"]
    done = subprocess.run(
        [sys.executable, "-m", "echo", "serve", *flags, "--log-file", str(tmp_path / "log")],
        capture_output=True,
        check=False,
        text=True,
        timeout=seconds(60),
    )

    assert done.returncode == os.EX_UNAVAILABLE
    assert "that is not a host name; check --status-host" in done.stderr


def test_connect_speaks_tls_in_a_pipe(daemon: Start, tmp_path: Path) -> None:
    """A megabyte goes through TLS and comes back, with a certificate at both ends."""
    authority = Authority(tmp_path / "tls")
    cert, key = authority.issue("server")
    mine, my_key = authority.issue("me")
    process = daemon(
        *("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(authority.ca))
    )
    command = [sys.executable, "-m", "echo", "connect", "localhost", str(process.port)]
    flags = ["--tls", "--tls-ca", str(authority.ca), "--tls-client-cert", str(mine)]
    data = os.urandom(1_000_000)
    done = subprocess.run(
        [*command, *flags, "--tls-client-key", str(my_key)],
        input=data,
        capture_output=True,
        check=False,
        timeout=seconds(60),
    )
    closed = process.wait_for("session.closed")[0]

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data
    assert "commonName=me" in closed["tls_subject"]
    assert closed["reason"] == "eof"


def test_a_certificate_that_is_not_trusted_is_said(daemon: Start, tmp_path: Path) -> None:
    """The line names what is wrong, and what to look at."""
    cert, key = Authority(tmp_path / "tls").issue("server")
    process = daemon("--tls-cert", str(cert), "--tls-key", str(key))
    command = [sys.executable, "-m", "echo", "connect", "localhost", str(process.port), "--tls"]
    done = subprocess.run(
        command, input="hello", capture_output=True, check=False, text=True, timeout=seconds(60)
    )

    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_default_log_is_where_systemd_made_its_folder(tmp_path: Path) -> None:
    """`$LOGS_DIRECTORY` is honoured, the first one where there are several."""
    environ = {**os.environ, "LOGS_DIRECTORY": f"{tmp_path / 'var'}:{tmp_path / 'other'}"}
    with subprocess.Popen(
        [sys.executable, "-m", "echo", "serve", "--port", "0"],
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    ) as process:
        log = tmp_path / "var" / "echo.jsonl"
        wait_until(lambda: log.exists() and b"server.started" in log.read_bytes())
        process.terminate()
        code = process.wait(seconds(60))

    assert code == 0
    assert not (tmp_path / "logs").exists()
