"""The live page's files: read once, served at fixed paths; a request's path never names a file."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from echo.server.status import Answer

if TYPE_CHECKING:
    from echo.server.status import Page

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def assets() -> dict[str, Page]:
    """Return the pages made of the package's own files: `/`, and those under `/page/`.

    >>> sorted(assets())[:2]
    ['/', '/page/charts.js']
    """
    pages: dict[str, Page] = {}
    for file in (files("echo.server") / "page").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        path = "/" if suffix == ".html" else f"/page/{file.name}"
        pages[path] = _constant(Answer(file.read_bytes(), TYPES[suffix]))
    return pages


def _constant(answer: Answer) -> Page:
    def page(accept: str) -> Answer:
        del accept
        return answer

    return page
