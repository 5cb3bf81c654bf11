"""A certificate authority of the tests' own, and the files that it gives out."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme

from echo.client.tls import trusting
from echo.server.tls import TlsConfig

if TYPE_CHECKING:
    from pathlib import Path


class Authority:
    """Issues certificates as PEM files in `folder`; `ca` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *, days: int = 1, chain: int = 1) -> tuple[Path, Path]:
        """Give the files of a certificate for this host and of its key.

        It expires in `days`, and is `chain` times in its file.
        """
        issued = self._authority.issue_cert(
            "127.0.0.1", "localhost", common_name=name, not_after=_in(days)
        )
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems) * chain)
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def certificates(self, *, clients: bool = False) -> TlsConfig:
        """Give what a server needs; with `clients` it asks them for a certificate."""
        return TlsConfig(*self.issue("server"), self.ca if clients else None)

    def trusting(self, name: str = "", *, days: int = 1) -> ssl.SSLContext:
        """Give what a client needs; with a name it has a certificate of its own."""
        if not name:
            return trusting(self.ca)
        cert, key = self.issue(name, days=days)
        return trusting(self.ca, cert=cert, key=key)


def _in(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
