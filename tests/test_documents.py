"""What the documents say is what the code does."""

from __future__ import annotations

import doctest
import re
import runpy
import signal
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from pkgutil import resolve_name

import pytest
import structlog
from packaging.requirements import Requirement

import echo
import echo.testing
from echo import EchoClient
from echo.events import EVENTS, Reason, Refusal, Stop
from tests.waiting import seconds

ROOT = Path(__file__).parent.parent
FOLDERS = ("", "docs/", "logs/", "benchmarks/")
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md")
)
# Pages with Python sessions.
EXAMPLES = [
    ROOT / name for name in ("README.md", "logs/README.md", "docs/handlers.md", "docs/embedding.md")
]
# A block of code; code in a line; a link or a picture, of Markdown or HTML.
BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(BLOCK.pattern + r"|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?:\]\(|src=\"|srcset=\")([^)\"\s]+)")


def event_table() -> str:
    """Return the table of events as `logs/README.md` shows it."""
    rows = ["| event | level | fields | meaning |", "|---|---|---|---|"]
    for event in EVENTS.values():
        fields = ", ".join(
            [*(f"`{name}`" for name in event.fields), *(f"[`{name}`]" for name in event.optional)]
        )
        rows.append(f"| `{event.name}` | {event.level} | {fields} | {event.meaning} |")
    return "\n".join(rows) + "\n"


def listed(*names: str) -> str:
    """Return a closed list as the page shows it."""
    return ", ".join(f"`{name}`" for name in names)


def test_the_event_table_is_the_vocabulary() -> None:
    """The log's page has each event, level, field and reason, and no other."""
    page = (ROOT / "logs" / "README.md").read_text()

    assert event_table() in page
    for closed in (Reason, Refusal, Stop):
        assert listed(*closed) in page


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.name)
def test_the_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page shows of a Python session is what Python answers."""
    monkeypatch.chdir(tmp_path)
    # A stop that takes five seconds is one that hangs, but not on a machine that does much else.
    patient = re.sub(r"(timeout=|drain, )5\)", rf"\g<1>{seconds(60)})", page.read_text())
    copy = tmp_path / page.name
    copy.write_text(patient)
    failed, tried = doctest.testfile(str(copy), module_relative=False)
    structlog.reset_defaults()

    assert (failed, tried > 0) == (0, True)


def test_the_embedded_server_stops_on_a_signal() -> None:
    """The program that waits for a signal serves, and ends gracefully."""
    page = (ROOT / "docs" / "embedding.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    program = program.replace("9000", "0").replace(
        "    signal.sigwait", "    print(server.server_address[1], flush=True)\n    signal.sigwait"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with EchoClient("127.0.0.1", port, timeout=seconds(60)) as client:
                echo = client.echo(b"hello")
                process.send_signal(signal.SIGTERM)
                code = process.wait(seconds(60))
        finally:
            process.kill()

    assert (echo, code) == (b"hello", 0)


def test_the_readme_s_test_command_is_what_ci_runs() -> None:
    """The command for the tests is the same in both places; CI also lets them install programs."""
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    commands.remove("export ECHO_TEST_INSTALL=1")

    assert [f"$ {command}" in readme for command in commands] == [True]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: str) -> None:
    """A link inside the project leads to a file that is there, and to a heading of its page."""
    assert broken_links(ROOT / page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """A missing file, picture or heading is a broken link; code and other hosts are not."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`: three\n\n## Again\n\n## Again\n\n"
        "[a](page.md) [b](#one-two-three) [c](page.md#again-1) [d](https://example.com/x#y)\n"
        "`[code](nowhere.md)` [e](nowhere.md) [f](#nothing) [g](page.md#again-2)\n"
        '```\n# no heading\n```\n[h](#no-heading) <img src="nowhere.png">\n'
    )

    assert broken_links(page) == [
        "nowhere.md", "#nothing", "page.md#again-2", "#no-heading", "nowhere.png"
    ]  # fmt: skip


def broken_links(page: Path) -> list[str]:
    """Return a page's links to files that are not there, or to headings that the file has not."""
    text = CODE.sub("", page.read_text())
    links = [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    return [link for link in links if not _leads_somewhere(page, link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the website name them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names = [name, *(f"{name}-{number}" for number in range(1, 9))]
        found.add(next(name for name in names if name not in found))
    return found


def test_the_api_reference_has_each_public_name() -> None:
    """What `echo` and `echo.testing` export has a section, which names an object that is there."""
    page = (ROOT / "docs" / "api.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n.*?<!-- auto\w+: ([\w.]+) -->", page, re.M | re.S))

    assert set(echo.__all__) | set(echo.testing.__all__) <= set(sections)
    assert {name for name, path in sections.items() if resolve_name(path).__name__ != name} == set()


def test_each_page_is_on_the_website() -> None:
    """The website's navigation has each page once, and no page that isn't there."""
    navigation = runpy.run_path(str(ROOT / "docs" / "conf.py"))["NAVIGATION"]
    shown = [f"{name}.md" for names in navigation.values() for name in names]

    assert sorted([*shown, "README.md"]) == sorted(PAGES)


def test_the_website_is_built_with_a_python_that_its_libraries_know() -> None:
    """No Python that tox may choose leaves out one of the extra's requirements."""
    tox, setup = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    setup.read(ROOT / "setup.cfg")
    pythons = tox["testenv:docs"]["base_python"].split(", ")
    lines = setup["options.extras_require"]["docs"].split("\n")
    needed = [Requirement(line) for line in lines if line]
    left_out = [
        f"{python}: {each}"
        for python in pythons
        for each in needed
        if each.marker
        and not each.marker.evaluate({"python_version": python.removeprefix("python")})
    ]

    assert all(re.fullmatch(r"python3\.\d+", python) for python in pythons), pythons
    assert left_out == []


if __name__ == "__main__":  # pragma: no cover - for a change of the vocabulary
    print(event_table(), listed(*Reason), listed(*Refusal), listed(*Stop), sep="\n")  # noqa: T201
