"""The manual page and the shells' completion: the same commands and flags as in `--help`."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from echo.cli import app, main
from echo.cli.failure import CANTCREAT, CONFIG, FAILED, NOPERM, OSERR, SOFTWARE, UNAVAILABLE, USAGE
from tests.debian import need
from tests.waiting import seconds

FOLDER = Path(__file__).parents[2] / "docs" / "man"
FLAG = re.compile(r"--[a-z][a-z-]+")
HELP = app.generate_docs(output_format="markdown")
SHELLS = ("bash", "zsh", "fish")


def page() -> str:
    """Return the page's text, without roff's escapes."""
    text = (FOLDER / "echod.1").read_text()
    return re.sub(r"\\f[BIRP]|\\&", "", text).replace(r"\-", "-").replace(r"\(aq", "'")


def test_the_page_has_every_flag_and_no_other() -> None:
    """The page names the flags that there are."""
    unneeded = {"--no-churn"}  # it is off

    assert set(FLAG.findall(page())) == set(FLAG.findall(HELP)) - unneeded


def test_the_page_is_what_its_script_builds() -> None:
    """Where this fails, build it again: python docs/man/build.py."""
    built = runpy.run_path(str(FOLDER / "build.py"))["build"]()

    assert built == (FOLDER / "echod.1").read_text()


def test_the_page_names_every_exit_code() -> None:
    """What the commands can exit with stands under EXIT STATUS."""
    codes = {0, FAILED, USAGE, UNAVAILABLE, SOFTWARE, OSERR, CANTCREAT, NOPERM, CONFIG, 130}
    section = page().partition("EXIT STATUS")[2].partition("FILES")[0]

    assert {
        int(code)
        for code in re.findall(r"^\.B (\d+)$|^(\d+)$", section, re.M)
        for code in code
        if code
    } == codes


def test_the_page_can_be_read() -> None:
    """man(1) shows it without a warning."""
    path = FOLDER / "echod.1"
    done = subprocess.run(
        [need("man"), "--warnings", "-l", str(path)], capture_output=True, check=True, text=True
    )

    assert "SYNOPSIS" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_is_valid(shell: str, tmp_path: Path) -> None:
    """Each shell parses its own, and it has the flags."""
    path = tmp_path / "completion"
    code = main(["--install-completion", "--shell", shell, "--output", str(path)])
    subprocess.run([need(shell), "-n", str(path)], check=True)

    assert code == 0
    assert "max-sessions" in path.read_text()


def test_bash_completes(tmp_path: Path) -> None:
    """One command installs it, and the next bash knows the commands and the flags."""
    environ = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    install = [sys.executable, "-m", "echo", "--install-completion", "--shell", "bash"]
    done = subprocess.run(install, env=environ, capture_output=True, check=True, text=True)
    ask = "source ~/.bashrc; COMP_WORDS=({0}); COMP_CWORD={1}; _echod; echo ${{COMPREPLY[@]}}"
    answers = [
        subprocess.run(
            ["bash", "-c", ask.format(words, number)],
            env=environ,
            capture_output=True,
            check=True,
            text=True,
            timeout=seconds(60),
        ).stdout.split()
        for words, number in (("echod ser", 1), ("echod serve --max-s", 2))
    ]

    assert str(tmp_path) in done.stdout
    assert answers == [["serve"], ["--max-sessions", "--max-sessions-per-peer"]]


@pytest.mark.parametrize(
    ("shell", "start_up", "ask", "answer"),
    [
        ("fish", "", 'complete -C "echod serve --max-s" | cut -f 1', "--max-sessions-per-peer"),
        ("zsh", "autoload -Uz compinit\ncompinit -u\n", "print $_comps[echod]", "_cyclopts_echod"),
    ],
    ids=["fish", "zsh"],
)
def test_the_other_shells_find_it(
    tmp_path: Path, shell: str, start_up: str, ask: str, answer: str
) -> None:
    """The same command installs it for fish and for zsh, and says what zsh needs for that."""
    environ = {**os.environ, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"}
    (tmp_path / ".zshrc").write_text(start_up)
    answers = [
        subprocess.run(
            [need(shell), "-i", "-c", command],
            env={name: text for name, text in environ.items() if not name.startswith("XDG_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            timeout=seconds(60),
        ).stdout.splitlines()
        for command in (f"echod --install-completion --shell {shell}", ask)
    ]

    assert answer in answers[1]
    assert ("compinit" in answers[0][-1]) == (shell == "zsh")


def test_an_unknown_shell_is_a_usage_error(tmp_path: Path) -> None:
    """Where the shell can't be told, the line says how to name it."""
    done = subprocess.run(
        [sys.executable, "-m", "echo", "--install-completion"],
        env={**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/odd"},
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 2
    assert "name it with --shell" in done.stderr


def test_a_place_that_can_not_be_written_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line, exit code 1."""
    (tmp_path / "file").touch()
    code = main(
        ["--install-completion", "--shell", "bash", "--output", str(tmp_path / "file" / "x")]
    )

    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "echod serve --log-file he",
        "echod serve --tls-cert he",
        "echod --config he",
        "echod ping --tls-ca he",
        "echod logs show he",
        "echod logs report -o he",
    ],
)
def test_files_are_completed_where_files_are_meant(words: str, tmp_path: Path) -> None:
    """An option or argument that takes a file completes the names of files."""
    (tmp_path / "here.jsonl").touch()
    script = tmp_path / "completion"
    main(["--install-completion", "--shell", "bash", "--output", str(script)])
    ask = f"source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _echod"
    done = subprocess.run(
        ["bash", "-c", f"{ask}; echo ${{COMPREPLY[@]}}"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
        timeout=seconds(60),
    )

    assert done.stdout == "here.jsonl\n"
