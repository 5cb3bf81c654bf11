"""The website of these documents: ``tox run -e docs`` builds it, in English and Korean.

The pages are the Markdown files as they are. What only a website can show is put in here: the
navigation, and the API reference from the docstrings, where ``docs/api.md`` has a comment
``<!-- autoclass: echo.EchoServer -->``. Nothing is loaded from another host.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from echo.version import VERSION

if TYPE_CHECKING:
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
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"Echo {VERSION}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"footer_icons": []}

NAVIGATION = {
    "Learn": ("docs/from-c", "docs/from-c.ko", "docs/glossary"),
    "Use": ("docs/tools", "docs/logs", "logs/README"),
    "Run": ("docs/operations", "SECURITY"),
    "Build on it": ("docs/handlers", "docs/embedding", "docs/testing", "docs/api"),
    "Understand it": ("docs/design", "docs/reliability", "docs/performance", "benchmarks/README"),
    "The project": ("CONTRIBUTING", "CHANGELOG", "README.ko"),
}


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page, as it is read, what only the website has."""
    source[0] = re.sub(
        r"<!-- (auto\w+): ([\w.]+) -->", r"```{eval-rst}\n.. \1:: \2\n```", source[0]
    )
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            lines = "\n".join(f"/{name}" for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def add_pictures(app: Sphinx, error: Exception | None) -> None:
    """Copy the pictures that the README shows with HTML, and make the first page the README."""
    if error is None:
        for picture in HERE.glob("live-*.png"):
            shutil.copy(picture, app.outdir / "docs")
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Register what is added to the pages."""
    app.connect("source-read", complete)
    app.connect("build-finished", add_pictures)
