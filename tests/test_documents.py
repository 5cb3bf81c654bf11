"""What the documents say is what the code does."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import structlog

from echo.events import EVENTS, Reason, Refusal, Stop

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("logs/*.md")]


def event_table() -> str:
    """Give the table of events as `logs/README.md` shows it."""
    rows = ["| event | level | fields | meaning |", "|---|---|---|---|"]
    for event in EVENTS.values():
        fields = ", ".join(
            [*(f"`{name}`" for name in event.fields), *(f"[`{name}`]" for name in event.optional)]
        )
        rows.append(f"| `{event.name}` | {event.level} | {fields} | {event.meaning} |")
    return "\n".join(rows) + "\n"


def listed(*names: str) -> str:
    """Give a closed list as the page shows it."""
    return ", ".join(f"`{name}`" for name in names)


def test_the_event_table_is_the_vocabulary() -> None:
    """The log's page has each event, level, field and reason, and no other."""
    page = (ROOT / "logs" / "README.md").read_text()

    assert event_table() in page
    for closed in (Reason, Refusal, Stop):
        assert listed(*closed) in page


def test_the_readme_s_examples_run() -> None:
    """What the README shows of Python is what Python says."""
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)

    assert (failed, tried > 0) == (0, True)


def test_the_log_page_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log's page shows of Python is what Python says."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "logs" / "README.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    structlog.reset_defaults()

    assert (failed, tried > 0) == (0, True)


def test_the_readme_s_test_command_is_what_ci_runs() -> None:
    """The command for the tests is the same in both places; CI also lets them install programs."""
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    commands.remove("export ECHO_TEST_INSTALL=1")

    assert [f"$ {command}" in readme for command in commands] == [True]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the project leads to one that is there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


if __name__ == "__main__":  # pragma: no cover - for whoever changes the vocabulary
    print(event_table(), listed(*Reason), listed(*Refusal), listed(*Stop), sep="\n")  # noqa: T201
