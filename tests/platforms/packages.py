"""The packages: what is in them, what the checkers say, and that they install and serve.

`pytest tests/platforms/packages.py` builds the sdist, a wheel from it, and the wheel without the
compiled loop, and installs each into an environment of its own. It needs the extra `release`, a C
compiler, and the registry of Python's packages.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.version import VERSION
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[..., Path]

ROOT = Path(__file__).parents[2]
# What git holds and the sdist doesn't: the ways of one forge and of this repository.
LEFT_OUT = (".ci/", ".github/", ".gitignore")

pytestmark = pytest.mark.timeout(seconds(600))


def run(*command: str | Path, **environment: str) -> str:
    """Run a command that has to succeed, and return what it writes."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        timeout=seconds(300),
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files that git holds, so that a build leaves nothing beside them."""
    folder = tmp_path_factory.mktemp("source")
    for name in files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return folder


def files() -> set[str]:
    """Return the names of the files that git holds."""
    command = ("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in run(*command).splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="session")
def packages(source: Path) -> dict[str, Path]:
    """Build the sdist, a wheel from it, and the pure wheel; return their paths by kind."""
    build = (sys.executable, "-m", "build", "--outdir")
    run(*build, source / "dist", source)
    run(*build, source / "pure", "--wheel", source, ECHO_PURE="1")
    (sdist,) = (source / "dist").glob("*.tar.gz")
    (wheel,) = (source / "dist").glob("*.whl")
    (pure,) = (source / "pure").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel, "pure": pure}


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install a package into an environment of its own, and return its folder of programs."""

    def install(package: Path, **environment: str) -> Path:
        run(sys.executable, "-m", "venv", tmp_path / "venv")
        # From its cache pip would take a wheel that another environment's compiler has made.
        pip = (tmp_path / "venv" / "bin" / "pip", "install", "-q", "--no-cache-dir")
        run(*pip, package, **environment)
        return tmp_path / "venv" / "bin"

    return install


def serve(programs: Path) -> tuple[str, str]:
    """Serve, echo once and stop; return the loop that was in use and what a terminal shows."""
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        [programs / "echod", "serve", "--port", "0", "--log-file", "-"],
        cwd=programs,
        stdout=subprocess.PIPE,
        stderr=other_end,
        text=True,
    ) as daemon:
        os.close(other_end)
        assert daemon.stdout
        started = json.loads(daemon.stdout.readline())
        echoed = subprocess.run(
            [programs / "echod", "connect", "127.0.0.1", str(started["port"])],
            input="hello\n",
            capture_output=True,
            check=True,
            text=True,
            timeout=seconds(20),
        ).stdout
        daemon.terminate()
        log, _ = daemon.communicate(timeout=seconds(20))
    shown = b""
    with suppress(OSError):  # the terminal's other end is closed
        while chunk := os.read(terminal, 65536):
            shown += chunk
    os.close(terminal)

    assert echoed == "hello\n"
    assert daemon.returncode == 0
    assert "server.stopped" in log
    return started["loop"], shown.decode()


# -- what is in them ----------------------------------------------------------------------


def test_the_sdist_holds_what_git_holds(packages: dict[str, Path]) -> None:
    """Tests, documents and deployment files are all there, and nothing that isn't git's."""
    with tarfile.open(packages["sdist"]) as archive:
        held = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    made = {name for name in held if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}

    assert held - made == {n for n in files() if not n.startswith(LEFT_OUT)} - {"setup.cfg"}


def test_the_loop_is_compiled_and_stripped(packages: dict[str, Path]) -> None:
    """The wheel has one compiled file, without symbols for a debugger; the pure one has none."""
    with zipfile.ZipFile(packages["wheel"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".so")]
        compiled = archive.read(name)
    with zipfile.ZipFile(packages["pure"]) as archive:
        others = [name for name in archive.namelist() if name.endswith(".so")]

    assert b".debug_info" not in compiled
    assert b".symtab" not in compiled
    assert others == []
    assert packages["pure"].name.endswith("-py3-none-any.whl")


def test_the_wheel_runs_on_old_systems(packages: dict[str, Path], tmp_path: Path) -> None:
    """It needs no newer C library than 2.17: one wheel for all Linux systems with glibc."""
    shown = run("auditwheel", "show", packages["wheel"])
    with zipfile.ZipFile(packages["wheel"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".so")]
        compiled = archive.extract(name, tmp_path)
    listed = run("objdump", "-T", compiled)
    symbols = re.findall(r"GLIBC_([\d.]+)\)?\s+(\w+)$", listed, re.MULTILINE)
    newer = [name for since, name in symbols if tuple(map(int, since.split("."))) > (2, 17)]

    assert 'platform tag: "manylinux_' in shown
    assert len(symbols) > 10
    # Version 2.34 took the library for threads in. What is built against an older one, as the
    # published wheels are, asks for these functions as 2.17 has them.
    assert [name for name in newer if not name.startswith("pthread_")] == []


def test_the_citation_has_the_version() -> None:
    """CITATION.cff names the version that the package has."""
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("kind", ["sdist", "wheel", "pure"])
def test_the_page_on_pypi_is_whole(kind: str, packages: dict[str, Path]) -> None:
    """The description renders, and each of its links and pictures is a whole address."""
    run("twine", "check", "--strict", packages[kind])


def test_every_link_of_the_description_is_whole(packages: dict[str, Path]) -> None:
    """A link to a file of the project leads to one that is there."""
    with zipfile.ZipFile(packages["wheel"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(name).decode().partition("\n\n")[2]
    links = re.findall(r'\]\(([^)\s]+)|(?:src|srcset)="([^"]+)', text)
    targets = [one or other for one, other in links]
    pages = [t.partition("#")[0] for t in targets if "/echo-daemon/" in t]
    ours = [page.partition("/v")[2].partition("/")[2] for page in pages]

    assert [t for t in targets if not t.startswith(("https://", "#"))] == []
    assert len(ours) > 10
    assert [path for path in ours if not (ROOT / path).exists()] == []


def test_the_checkers_have_nothing_to_say(packages: dict[str, Path]) -> None:
    """check-wheel-contents finds nothing; pyroma gives ten of ten."""
    run("check-wheel-contents", packages["wheel"], packages["pure"])
    run("pyroma", "-n", "10", packages["sdist"])


# -- that they serve ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_installs_and_serves_with_the_compiled_loop(
    kind: str, packages: dict[str, Path], install: Install
) -> None:
    """With a compiler, or from a wheel that was made with one, sessions run the compiled loop."""
    assert serve(install(packages[kind])) == ("compiled", "")


def test_it_installs_and_serves_without_a_compiler(
    packages: dict[str, Path], install: Install
) -> None:
    """From the sdist with no compiler: it installs all the same, and runs Python's loop."""
    loop, shown = serve(install(packages["sdist"], CC="/bin/false"))

    assert loop == "python"
    assert "install a C compiler" in shown
    assert shown.count("\n") == 1


def test_the_pure_wheel_serves(packages: dict[str, Path], install: Install) -> None:
    """The wheel for every system serves with Python's loop."""
    loop, _ = serve(install(packages["pure"]))

    assert loop == "python"
