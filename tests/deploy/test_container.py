"""The container's files: their commands are ones that there are, and their times fit together."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from echo.cli import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy"
DOCKERFILE = (FOLDER / "container" / "Dockerfile").read_text()
MANIFEST = (FOLDER / "kubernetes" / "echod.yaml").read_text()


def commands() -> list[list[str]]:
    """Return every command line of `echod` in the two files."""
    (start,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    (health,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    pod = re.findall(r"^            - (serve|--\S+)$", MANIFEST, re.MULTILINE)
    return [json.loads(start), json.loads(health)[1:], pod]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[0])
def test_the_commands_are_ones_that_there_are(command: list[str]) -> None:
    """Each flag exists, and takes the value it is given."""
    _, bound, _ = app.parse_args(command, exit_on_error=False, print_error=False)

    assert bound.arguments


def build_needs() -> set[str]:
    """Return the files and folders that the package is built from."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    data = [name for names in setup["options.data_files"].values() for name in names.split()]
    licences = setup["metadata"]["license_files"].split()
    return {"echo", "pyproject.toml", "setup.cfg", "setup.py", "README.md", *licences, *data}


def test_the_image_gets_all_that_the_package_is_built_from() -> None:
    """What the ignore file lets through is that, and nothing else."""
    lines = (FOLDER / "container" / "Dockerfile.dockerignore").read_text().splitlines()

    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == build_needs()


def test_a_pod_has_the_time_to_drain() -> None:
    """The grace period covers preStop and the drain, with five seconds to spare."""
    grace = int(re.findall(r"terminationGracePeriodSeconds: (\d+)", MANIFEST)[0])
    before = int(re.findall(r'command: \["sleep", "(\d+)"\]', MANIFEST)[0])
    drain = int(re.findall(r"--drain-timeout=(\d+)", MANIFEST)[0])

    assert grace >= before + drain + 5


def test_echod_is_never_process_1() -> None:
    """Each container that the project starts has an init, so that no early TERM is lost."""
    page = (ROOT / "docs" / "operations.md").read_text()
    starts = re.findall(r"(?:docker|podman) run .*", DOCKERFILE + page)
    engines = [start for start in starts if " -p " in start]

    assert len(engines) >= 2
    assert all("--init" in start for start in engines)
    assert "shareProcessNamespace: true" in MANIFEST


def test_the_health_check_follows_the_port() -> None:
    """It names no port, so that it asks where ECHOD_PORT says that echod listens."""
    (_, health, _) = commands()

    assert not any(word.isdigit() and len(word) > 1 for word in health)
