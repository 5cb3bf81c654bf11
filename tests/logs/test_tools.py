"""The log in other people's tools, as the documents say to use them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import echo
from echo.events import EVENTS
from tests.debian import need
from tests.logs.making import Maker
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process import DaemonProcess

ROOT = Path(echo.__file__).parent.parent
JQ = re.findall(r"^(jq .*)$", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)


def run(*command: str, cwd: Path, **options: Any) -> str:
    """Run a tool; it has to succeed, and to complain of nothing."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=seconds(60),
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a log where the daemon has it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "echo.jsonl").write_text("".join(Maker(2_000).lines()))
    return tmp_path


@pytest.mark.parametrize("line", JQ)
def test_the_jq_lines_of_the_documents_work(line: str, folder: Path) -> None:
    """Each line answers its question from the log as it is."""
    need("jq")
    log = folder / "logs" / "echo.jsonl"
    session = next(text for text in log.read_text().split('"') if text.endswith("-17"))
    answer = run("bash", "-o", "pipefail", "-c", line.replace("1f2e3d4c-17", session), cwd=folder)

    assert bool(answer) == ("sent_bytes !=" not in line)
    assert len(JQ) == 8


def test_lnav_knows_each_event_and_field(folder: Path) -> None:
    """The format installs, names every field, and answers SQL with the right counts."""
    lnav = need("lnav")
    run(lnav, "-i", str(ROOT / "deploy" / "lnav" / "echod.json"), cwd=folder)
    sql = ";SELECT event, count(*) AS n FROM echod_log GROUP BY event ORDER BY event"
    counts = run(lnav, "-n", "-c", sql, "-c", ":write-csv-to -", "logs/echo.jsonl", cwd=folder)
    shown = run(lnav, "-n", "logs/echo.jsonl", cwd=folder)
    log = (folder / "logs" / "echo.jsonl").read_text()
    expected = {name: log.count(f'"event":"{name}"') for name in sorted(EVENTS)}

    assert counts.split()[1:] == [f"{name},{n}" for name, n in expected.items() if n]
    assert shown.count("session.closed") == expected["session.closed"]


def test_the_lnav_format_has_each_field_of_the_log() -> None:
    """A field that is new in the vocabulary is new there, too."""
    text = (ROOT / "deploy" / "lnav" / "echod.json").read_text()
    fields = {name for event in EVENTS.values() for name in (*event.fields, *event.optional)}
    # lnav makes a column of each, and this one is a word of SQL.
    fields -= {"where"}

    assert {name for name in fields if f'"{name}": {{' not in text} == set()


def test_logrotate_turns_the_log_of_a_daemon(
    daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """The snippet, with this daemon's path and signal, moves the log; nothing is lost."""
    logrotate = need("logrotate")
    process = daemon("--log-max-size", "0")
    with process.client() as client:
        client.echo(b"before")
    process.wait_for("session.closed")
    text = (ROOT / "deploy" / "logrotate" / "echod").read_text()
    text = text.replace("/var/log/echod/echo.jsonl", str(process.log))
    text = re.sub(r"systemctl .*", f"kill -HUP {process.pid}", text)
    (tmp_path / "snippet").write_text(text)
    state = str(tmp_path / "state")
    run(logrotate, "--force", "--state", state, str(tmp_path / "snippet"), cwd=tmp_path)
    process.wait_for("log.reopened")
    with process.client() as client:
        client.echo(b"after")

    assert len(process.wait_for("session.closed", 2)) == 2
    assert process.log.with_name("echo.jsonl.1").exists()
