"""TLS contexts for clients."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def trusting(
    ca: Path | None = None, *, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer that trusts the authorities in `ca`.

    `ca` is a PEM file; without one, the system's authorities are trusted. With `cert` and `key`
    the client shows a certificate of its own. Raises `OSError` for a file that can't be used.

    >>> trusting().check_hostname
    True
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        context.load_cert_chain(cert, key, password="")
    return context
