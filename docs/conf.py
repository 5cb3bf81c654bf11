"""The website of these documents: ``tox run -e docs`` builds it, in English and Korean.

The pages are the Markdown files as they are. What only a website can show is put in here: the
navigation, and the API reference from the docstrings, where ``docs/api.md`` has a comment
``<!-- autoclass: echo.EchoServer -->``. Nothing is loaded from another host.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils.nodes import document
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "Echo"
author = "The Echo authors"
project_copyright = author
release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
# The source folder is the whole checkout, so that links between files lead to the same places.
include_patterns = ["*.md", "docs/*.md", "logs/README.md", "benchmarks/README.md"]
root_doc = "README"
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
default_role = "code"  # docstrings have `names` in single quotes
# Inherited methods too, but for those of the standard library.
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseServer,TCPServer,ThreadingMixIn,BaseRequestHandler,BaseException,str",
}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"Echo {VERSION}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"footer_icons": []}

NAVIGATION = {
    "Learn": ("docs/from-c", "docs/glossary"),
    "Use": ("docs/tools", "docs/logs", "logs/README"),
    "Run": ("docs/operations", "SECURITY"),
    "Build on it": ("docs/handlers", "docs/embedding", "docs/testing", "docs/api"),
    "Understand it": ("docs/design", "docs/reliability", "docs/performance", "benchmarks/README"),
    "The project": ("CONTRIBUTING", "CHANGELOG"),
    "한국어": ("README.ko", "docs/from-c.ko", "docs/glossary.ko"),
}
TITLED = {"README.ko": "소개 </README.ko>"}  # its own title is "Echo", as the README's

# Files of the project that pages link to, and how they are coloured.
FILES: set[str] = set()
LANGUAGES = {".py": "python", ".yaml": "yaml", ".c": "c", ".pyx": "cython", ".cff": "yaml"}


def search_words() -> None:
    """Let the search find a Korean word whatever particle follows it: 소켓 finds 소켓을, too."""
    from sphinx.search import languages
    from sphinx.search.en import SearchEnglish

    class Words(SearchEnglish):
        def split(self, text: str) -> list[str]:
            words = super().split(text)
            korean = [word for word in words if "가" <= word[0] <= "힣"]
            return words + [word[:end] for word in korean for end in range(2, len(word))]

    languages["en"] = Words


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page, as it is read, what only the website has."""
    source[0] = re.sub(
        r"<!-- (auto\w+): ([\w.]+) -->", r"```{eval-rst}\n.. \1:: \2\n```", source[0]
    )
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            lines = "\n".join(TITLED.get(name, f"/{name}") for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def show_files(app: Sphinx, tree: document, page: str) -> None:
    """Lead a page's links to files of the project to pages that show them, not to downloads."""
    from docutils.nodes import reference
    from sphinx.addnodes import download_reference

    for link in list(tree.findall(download_reference)):
        file = os.path.normpath(Path(page).parent / link["reftarget"])
        address = app.builder.get_relative_uri(page, f"files/{file}")
        link.replace_self(reference("", "", *link.children, refuri=address, internal=True))
        FILES.add(file)


def file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages of those files."""
    for file in sorted(FILES):
        text = (HERE.parent / file).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(file).suffix, "text")
        code = app.builder.highlighter.highlight_block(text, language)  # type: ignore[attr-defined]
        yield f"files/{file}", {"title": file, "body": f"<h1>{file}</h1>{code}"}, "page.html"


def set_language(
    _app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: document | None
) -> None:
    """Mark the Korean pages as Korean, for browsers and screen readers."""
    if page.endswith(".ko"):
        context["language"] = "ko"


def finish(app: Sphinx, error: Exception | None) -> None:
    """Copy the pictures that the README shows with HTML, and make the README the first page."""
    if error is None:
        for picture in HERE.glob("live-*.png"):
            shutil.copy(picture, app.outdir / "docs")
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
        shutil.rmtree(app.outdir / "_downloads", ignore_errors=True)


def setup(app: Sphinx) -> None:
    """Register what is added to the pages."""
    search_words()
    app.connect("source-read", complete)
    app.connect("doctree-resolved", show_files)
    app.connect("html-collect-pages", file_pages)
    app.connect("html-page-context", set_language)
    app.connect("build-finished", finish)
