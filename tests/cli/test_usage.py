"""Wrong use of the command line: one line that says what to do, the right code, nothing started."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from echo import EchoClient
from echo.cli import main
from echo.version import VERSION
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from echo.testing import RunningServer

    Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("nonsense", 2, 'Unknown command "nonsense"'),
        ("serve --prot 1", 2, "Did you mean --port?"),
        ("serve --port 99999", 2, "--port"),
        ("serve --port x", 2, "--port"),
        ("serve --max-sessions 0", 2, "--max-sessions must be at least 1, not 0"),
        ("serve --idle-timeout -1", 2, "--idle-timeout must be at least 0"),
        ("serve --buffer-size 99999999", 2, "--buffer-size must be at most 16777216"),
        ("serve --log-level loud", 2, "--log-level"),
        ("serve --cpu x", 78, "--cpu x can't be used"),
        ("serve --host nonexistent.invalid", 69, "can't listen on nonexistent.invalid port 9000"),
        ("serve --host foo..bar", 69, "can't listen on foo..bar: that is not a host name"),
        ("serve --host 192.0.2.1", 69, "can't listen on 192.0.2.1 port 9000"),
        ("serve --log-file /proc/nowhere/log", 73, "can't open the log /proc/nowhere/log"),
        ("serve --config missing.toml", 78, "can't read missing.toml"),
        ("connect 127.0.0.1 1", 1, "can't connect to 127.0.0.1 port 1: Connection refused"),
        ("connect nonexistent.invalid", 2, "can't connect to nonexistent.invalid port 9000"),
        ("connect foo..bar", 2, "Name or service not known"),
        ("connect --timeout inf", 2, "--timeout"),
        ("connect 127.0.0.1 0", 2, "PORT"),
        ("connect 9000", 2, "9000 is no host: write :9000 or --port 9000 for the port"),
        ("serve --host 9000", 2, "9000 is no host"),
        ("serve --max-sessions ten", 2, "--max-sessions must be a whole number, not ten"),
        ("top http://9001", 2, "http://9001 can't be used: it needs a host"),
        ("logs show missing.jsonl", 1, "can't read missing.jsonl: No such file or directory"),
        ("logs show .", 1, "can't read .: Is a directory"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    line: str, code: int, says: str, capfd: Captured, tmp_path: Path
) -> None:
    """Each mistake says on stderr what is wrong, in one line, and leaves nothing behind."""
    got = main(line.split())
    out, err = capfd.readouterr()

    assert (got, out) == (code, "")
    assert says in err
    assert err.startswith("echod: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.jsonl")) or "listen" in says


@pytest.mark.parametrize(
    ("toml", "code", "says"),
    [
        ("[serve", 78, "echod.toml is not TOML"),
        ("[serve]\nport = 'x'", 2, "port"),
        ("[serve]\nprot = 1", 2, 'Unknown option: "prot" from echod.toml. '),
        ("[sreve]\nport = 1", 78, "no command has the table [sreve]"),
        ("port = 1", 78, "no command has the table [port]"),
        ("[serve]\nmax-sessions = 0", 2, "--max-sessions must be at least 1"),
        ("\udcff", 78, "is not TOML"),
        ('[serve]\nlog-file = "a\\u0000b"', 73, "can't open the log"),
    ],
)
def test_a_bad_settings_file_is_named(
    toml: str, code: int, says: str, capfd: Captured, tmp_path: Path
) -> None:
    """Mistakes in a TOML file are found before anything starts."""
    (tmp_path / "echod.toml").write_bytes(toml.encode("utf-8", "surrogateescape"))
    got = main(["serve", "--config", "echod.toml"])
    err = capfd.readouterr().err

    assert got == code
    assert says in err
    assert err.count("\n") == 1


def test_a_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    """A setting from the environment is checked like a flag."""
    monkeypatch.setenv("ECHOD_IDLE_TIMEOUT", "soon")

    assert main(["serve"]) == 2
    assert "ECHOD_IDLE_TIMEOUT" in capfd.readouterr().err


def test_a_port_that_needs_a_privilege_is_named(
    capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that only a privileged user may take says so, and what to do."""

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("echo.cli.serve.EchoServer", forbidden)

    assert main(["serve", "--port", "80"]) == 77
    assert "ports below 1024" in capfd.readouterr().err


def test_help_and_version(capfd: Captured) -> None:
    """Help names the commands and each default with its unit; the version is the package's."""
    assert main([]) == 0
    assert main(["--version"]) == 0
    commands = capfd.readouterr().out
    assert main(["serve", "--help"]) == 0
    flags = capfd.readouterr().out

    assert VERSION in commands
    for command in ("serve", "connect", "logs"):
        assert command in commands
    for text in ("--max-sessions", "ECHOD_LOG_FILE", "[default: 9000]", "[default: 5m]"):
        assert text in flags


@pytest.mark.parametrize("command", [["-m", "echo"], ["-c", "from echo.cli import main; main()"]])
def test_a_closed_stderr_is_no_traceback(command: list[str]) -> None:
    """With stderr closed the exit code still reports the error."""
    code = subprocess.run(
        [sys.executable, *command, "nonsense"],
        preexec_fn=lambda: os.close(2),
        stdout=subprocess.PIPE,
        timeout=seconds(60),
        check=False,
    )

    assert code.stdout == b""
    assert code.returncode == (2 if "-m" in command else 0)


def test_an_interrupt_is_not_a_traceback(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    """INT in a command ends as a shell expects."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EchoClient, "connect", interrupted)

    assert main(["connect"]) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("line", ["--help", "--version", "serve --help"])
def test_an_output_that_can_t_be_written_is_one_line(line: str) -> None:
    """A full disk under the output is one line on stderr, without a traceback."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "echo", *line.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=seconds(60),
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == b"echod: can't write the output: No space left on device\n"


def test_a_reader_that_leaves_ends_the_output() -> None:
    """As in `echod --help | head -1`: nothing is said about it."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "echo", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=seconds(60),
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


def test_an_output_that_was_closed_is_no_traceback() -> None:
    """With standard output closed there is nothing to print to, and nothing to say."""
    done = subprocess.run(
        [sys.executable, "-m", "echo", "--version"],
        preexec_fn=lambda: os.close(1),
        stderr=subprocess.PIPE,
        timeout=seconds(60),
        check=False,
    )

    assert b"Traceback" not in done.stderr


def test_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    """An unexpected exception is one line, with exit code 70."""

    def fault(*_: object) -> None:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr(EchoClient, "connect", fault)

    assert main(["connect"]) == 70
    assert "please report it: LookupError: nobody thought" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_where_to_connect_comes_from_anywhere(
    how: str, monkeypatch: pytest.MonkeyPatch, capfd: Captured, tmp_path: Path
) -> None:
    """`connect` takes host and port as flags, from the environment, and from a file."""
    line = ["connect"]
    if how == "flag":
        line += ["--host", "127.0.0.1", "--port", "1"]
    elif how == "environment":
        monkeypatch.setenv("ECHOD_PORT", "1")
    else:
        (tmp_path / "echod.toml").write_text("[connect]\nport = 1\n")
        line += ["--config", "echod.toml"]

    assert main(line) == 1
    assert "can't connect to 127.0.0.1 port 1" in capfd.readouterr().err


def test_a_compiled_loop_that_isn_t_there() -> None:
    """`--loop compiled` fails without the compiled loop; `auto` takes the loop in Python."""
    code = (
        "import sys, echo.cli\n"
        "sys.modules['echo.server.compiled'] = None\n"
        "sys.exit(echo.cli.main(sys.argv[1:]))\n"
    )
    serve = [sys.executable, "-c", code, "serve", "--port", "0", "--log-file", "-", "--loop"]
    done = subprocess.run(
        [*serve, "compiled"], capture_output=True, timeout=seconds(60), check=False
    )
    process = subprocess.Popen([*serve, "auto"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    started = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=seconds(60))

    assert done.returncode == 78
    assert b"install again with a C compiler" in done.stderr
    assert (started["loop"], process.returncode) == ("python", 0)


def run_echod(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "echo", *words],
        stderr=subprocess.PIPE,
        timeout=seconds(60),
        check=False,
        **options,
    )


def test_an_error_of_the_system_is_not_the_output_s(tmp_path: Path) -> None:
    """An `OSError` that no command expects names what it was about, with a code of its own."""
    code = (
        "import sys, echo.cli as cli\n"
        "def fails(): open('missing')\n"
        "cli.app.command(fails, name='fails')\n"
        "sys.exit(cli.main(['fails']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, text=True
    )

    assert done.returncode == os.EX_OSERR
    assert done.stderr == "echod: the system refuses: missing: No such file or directory\n"


@pytest.mark.parametrize("command", ["ping -c 1 127.0.0.1 {port}", "load 127.0.0.1:{port} {brief}"])
def test_a_full_disk_under_a_tool_is_the_output_s(command: str, server: RunningServer) -> None:
    """The network is not blamed for an output that can't be written."""
    words = command.format(port=server.port, brief="--duration 0.1").split()
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run_echod(*words, stdout=full)

    assert done.returncode == 1
    assert done.stderr == b"echod: can't write the output: No space left on device\n"


@pytest.mark.parametrize(
    "command", ["ping -i 0.01 127.0.0.1 {port}", "demo --fast", "load :{port} --duration 0.2"]
)
def test_a_reader_that_has_seen_enough_is_no_error(command: str, server: RunningServer) -> None:
    """As in `echod ping | head -1`: it ends without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run_echod(*command.format(port=server.port).split(), stdout=writer)
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


def test_an_output_that_takes_ascii_only_gets_escapes(server: RunningServer) -> None:
    """What its encoding lacks is escaped, and is no fault."""
    done = run_echod(
        *("logs", "show", "-"),
        input='{"timestamp":"2026-01-31T10:00:00Z","level":"info","event":"안녕"}\n'.encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    table = run_echod(
        *("load", f"127.0.0.1:{server.port}", "--duration", "0.1"),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\uc548\\ub155" in done.stdout
    assert (table.returncode, table.stderr) == (0, b"")


def test_ctrl_c_ends_a_ping_of_a_host_called_serve() -> None:
    """`echod ping serve 9000` is a ping: Ctrl-C ends it as any other, with its summary's code."""
    code = (
        "import os, signal, socket, sys\n"
        "from echo import __main__ as command\n"
        "def ask(*_, **__): os.kill(os.getpid(), signal.SIGINT); raise OSError('not interrupted')\n"
        "socket.getaddrinfo = ask\n"
        "sys.argv[1:] = ['ping', 'serve', '9000']\n"
        "sys.exit(command.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)

    assert done.returncode == 1
    assert "stopped before the first reply" in done.stderr


def test_ctrl_c_on_a_terminal_ends_a_ping_with_a_file_called_serve(
    server: RunningServer, tmp_path: Path
) -> None:
    """Whatever else on its command line is called as a command, a ping shows its summary."""
    (tmp_path / "serve").write_text("[ping]\ninterval = 0.01\n")
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "echo",
            "--config",
            "serve",
            "ping",
            f"127.0.0.1:{server.port}",
            "-c2000",
        ],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # So that the terminal sends INT to it, and INT isn't ignored, as in a shell's background.
        preexec_fn=lambda: (
            signal.signal(signal.SIGINT, signal.default_int_handler),
            fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ),
    )
    os.close(terminal)
    screen, pressed = b"", 0
    with suppress(OSError):  # the terminal's end, once the process has left it
        while data := os.read(master, 65536):
            screen += data
            if b"seq=2" in screen and not pressed:
                pressed = os.write(master, b"\x03")
    os.close(master)

    assert process.wait(seconds(60)) == 0, screen
    assert b"^C" in screen
    assert b" received" in screen


SWALLOWED = """
import os, runpy, signal, sys

class Strike:
    def find_spec(self, name, path, target=None):
        if name == "cyclopts":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass  # as a callback of the garbage collector would

sys.meta_path.insert(0, Strike())
sys.argv[0] = "echod"
runpy.run_module("echo", run_name="__main__")
"""


def test_ctrl_c_in_the_first_moments_is_not_swallowed() -> None:
    """While a command is still imported an exception could be lost; the process ends at once."""
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED, "demo", "--fast"], capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """A shell's background job has it ignored, and a client leaves that alone."""
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{SWALLOWED}"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_an_output_that_somebody_made_non_blocking() -> None:
    """Room for the output is waited for."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\0")
    process = subprocess.Popen(
        [sys.executable, "-m", "echo", "--help"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    stat = Path(f"/proc/{process.pid}/stat")
    # It sleeps in the write, or is about to: either way all of the output has to come.
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
    with open(reader, "rb") as output:  # noqa: PTH123
        shown = output.read().lstrip(b"\0")
    _, errors = process.communicate(timeout=seconds(60))

    assert (process.returncode, errors) == (0, b"")
    assert shown.startswith(b"Usage: echod COMMAND")
    assert shown.endswith(b"1,024).\n")
