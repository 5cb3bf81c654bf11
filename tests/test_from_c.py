"""The walks from C: each quotes code that is there, and what they say is so."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from echo import EchoClient, EchoHandler, EchoServer, Limits
from echo.testing import EventList, running_server
from tests.process import free_port
from tests.waiting import seconds

ROOT = Path(__file__).parents[1]
WALKS = [ROOT / "docs" / "from-c.md", ROOT / "docs" / "from-c.ko.md"]
READMES = [ROOT / "README.md", ROOT / "README.ko.md"]
LINK = re.compile(r"\[`(?P<code>[^`]+)`\]\((?P<path>\.\./[^)#]+)\)")
# What makes a claim: an item of a list, a row of a table that is no heading.
CLAIM = re.compile(r"^(?:- .*(?:\n  .*)*|\| (?!---|.*\n\|---).*)$", re.MULTILINE)


class Link(NamedTuple):
    """A link to a file of the project, and the code that it quotes: a test by its name."""

    code: str
    path: str

    def is_right(self, page: Path) -> bool:
        """Return whether the file has the code."""
        text = f"def {self.code}(" if self.code.startswith("test_") else self.code
        return text in (page.parent / self.path).read_text(encoding="utf-8")


def links(page: Path) -> list[Link]:
    """Return a page's links to code, in their order."""
    text = page.read_text(encoding="utf-8")
    return [Link(m["code"], m["path"]) for m in LINK.finditer(text)]


# -- the pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.name)
def test_the_code_that_is_quoted_is_in_its_file(page: Path) -> None:
    """The file that a quotation links to has the code, or the test, as it is quoted."""
    found = links(page)

    assert len(found) > 50
    assert [link for link in found if not link.is_right(page)] == []


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.name)
def test_each_claim_has_its_code_or_its_test(page: Path) -> None:
    """Each item and each row links to the code or the test that shows it."""
    claims = CLAIM.findall(page.read_text(encoding="utf-8"))
    bare = [claim for claim in claims if not LINK.search(claim)]

    assert len(claims) > 30
    assert bare == []


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.name)
def test_each_mistake_has_a_test(page: Path) -> None:
    """Each row of the table of mistakes names a test."""
    rows = [row for row in CLAIM.findall(page.read_text(encoding="utf-8")) if row.startswith("|")]

    assert len(rows) > 8
    assert [row for row in rows if "[`test_" not in row] == []


def test_both_languages_have_the_same_links() -> None:
    """Both pages quote the same code in the same order, under as many headings."""
    one, other = (page.read_text(encoding="utf-8") for page in WALKS)

    assert links(WALKS[0]) == links(WALKS[1])
    assert re.findall(r"^#+ ", one, re.M) == re.findall(r"^#+ ", other, re.M)
    assert re.findall(r"`[^`]+`", _code_blocks(one)) == re.findall(r"`[^`]+`", _code_blocks(other))


def test_both_glossaries_have_the_same_terms() -> None:
    """Each Korean heading names the English term, in the same order."""
    folder = ROOT / "docs"
    terms = re.findall(r"^## (.*)$", (folder / "glossary.md").read_text(encoding="utf-8"), re.M)
    korean = (folder / "glossary.ko.md").read_text(encoding="utf-8")
    named = re.findall(r"^## .* \(([\w -]+?)(?:, RST)?\)$", korean, re.M)

    assert named == [term.lower() for term in terms]


def _code_blocks(text: str) -> str:
    return "\n".join(f"`{block}`" for block in re.findall(r"^```c\n(.*?)^```", text, re.M | re.S))


def test_the_korean_readme_has_the_commands_of_the_first_screen() -> None:
    """What is to be typed is the same in both languages, and each leads to the other."""
    english, korean = (page.read_text(encoding="utf-8") for page in READMES)
    typed = re.findall(r"^\$ .*$", english.partition("## What it promises")[0], re.M)

    assert len(typed) > 3
    assert [line for line in typed if line not in korean] == []
    assert "(README.ko.md)" in english
    assert "(README.md)" in korean
    for walk in WALKS:
        assert f"(docs/{walk.name})" in english
        assert f"(docs/{walk.name})" in korean


# -- what the walks say -------------------------------------------------------------------


def test_a_silent_client_keeps_nobody_waiting() -> None:
    """A client that connects and says nothing costs the next one nothing."""
    with running_server() as server, socket.create_connection(server.address):
        server.log.wait_for("session.accepted", timeout=seconds(60))
        with EchoClient(*server.address, timeout=seconds(60)) as second:
            assert second.echo(b"me first") == b"me first"


def test_a_nul_is_a_byte_like_any_other() -> None:
    """Nothing is cut off at a NUL, wherever it is."""
    with running_server() as server, EchoClient(*server.address, timeout=seconds(60)) as client:
        assert client.echo(b"\0before\0after\0") == b"\0before\0after\0"


def test_a_length_in_the_data_is_only_data() -> None:
    """No number that a client sends says how much is read: the buffer's own size does."""
    hostile = b"\xff\xff\xff\xff" + b"x" * 1000
    with running_server(limits=Limits(buffer_size=16), log_payload=True) as server:
        with EchoClient(*server.address, timeout=seconds(60)) as client:
            echo = client.echo(hostile)
        reads = [data["bytes"] for data in server.log.named("session.data")]

    assert echo == hostile
    assert max(reads) <= 16


def test_a_restart_finds_its_port_free() -> None:
    """Connections that the last server ended are in TIME_WAIT: the next one listens anyway."""
    address, log = ("127.0.0.1", free_port()), EventList()
    with EchoServer(address, EchoHandler, log=log) as server:
        threading.Thread(target=server.serve_forever).start()
        with socket.create_connection(address) as client:
            log.wait_for("session.accepted", timeout=seconds(60))
            server.start_draining()

            assert client.recv(1) == b""

        log.wait_for("session.closed", timeout=seconds(60))
    with EchoServer(address, EchoHandler, log=EventList()) as again:
        assert again.server_address == address
