"""`docs/testing.md` is true: its example runs, and its table is the code's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from echo.server import faults
from echo.testing import Faults
from tests.waiting import seconds

DOCUMENT = Path(__file__).parents[1] / "docs" / "testing.md"


# What a project has that installed only what the document says first.
PLAIN = "import sys\nsys.modules['hypothesis'] = None\n"


@pytest.mark.long
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "with the extra fuzz"])
def test_the_example_runs_in_a_project_of_its_own(plain: bool, tmp_path: Path) -> None:
    """A project that has nothing but these files finds the fixtures, and passes."""
    client, tests, waiting, drawn = re.findall(
        r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    (tmp_path / "shout.py").write_text(client)
    (tmp_path / "test_shout.py").write_text(tests)
    (tmp_path / "waiting.py").write_text(waiting)
    if plain:
        (tmp_path / "conftest.py").write_text(PLAIN)
    else:
        (tmp_path / "test_any.py").write_text(drawn)
    # hypothesis has a plugin of its own, which is not there either in a plain project.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
        + (["-p", "no:hypothesispytest"] if plain else []),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds(100),
        check=False,
    )

    alone = subprocess.run(
        [sys.executable, "waiting.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (alone.stdout, alone.stderr) == ("b'hello'\neof\n", "")
    assert f"{10 if plain else 12} passed" in done.stdout
    assert " skipped" not in done.stdout


def test_the_table_of_faults_is_the_dataclass() -> None:
    """Each field has its row, with its own words."""
    rows = [
        f"| `{field.name}` | `{_flag(field.name, field.default)}` | {text} |"
        for field, text in zip(fields(Faults), _docstrings(), strict=True)
    ]
    table = DOCUMENT.read_text().partition("<!-- faults -->\n")[2].partition("<!-- end -->")[0]

    assert table.splitlines()[2:] == rows


def _flag(name: str, default: object) -> str:
    return name.replace("_", "-") + ("" if default is False else "=NUMBER")


def _docstrings() -> list[str]:
    """Return the texts below the fields of the dataclass."""
    tree = ast.parse(Path(faults.__file__).read_text())
    (body,) = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Faults"]
    pairs = pairwise(body)
    return [
        ast.literal_eval(text.value)
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    ]


def test_the_plugin_imports_nothing_of_ours_until_it_is_used(tmp_path: Path) -> None:
    """Other people's test runs pay nothing, and their coverage misses nothing."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\n"
        "def test_other():\n"
        "    ours = sorted(name for name in sys.modules if name.partition('.')[0] == 'echo')\n"
        "    assert ours == []\n"
        "    assert not {'structlog', 'cyclopts'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds(100),
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_s_part_needs_no_hypothesis() -> None:
    """Only the strategies do; what else `echo.testing` has is there without."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from echo.testing import EventList, Faults, RunningServer, running_server\n"
        "try:\n    from echo.testing import payloads\n"
        "except ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("hypothesis\n", "")
