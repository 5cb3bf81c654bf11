"""A certificate authority of the tests' own, and the files that it gives out."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import trustme
from cryptography.hazmat.primitives.serialization import load_pem_private_key

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

    def issue(
        self, name: str, *, days: int = 1, chain: int = 1, address: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for this host, or another `address`, and of its key.

        It expires in `days`, and is `chain` times in its file.
        """
        issued = self._authority.issue_cert(
            address, "localhost", common_name=name, not_after=_in(days)
        )
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems) * chain)
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def key(self) -> Any:
        """Return the authority's own private key."""
        return load_pem_private_key(self._authority.private_key_pem.bytes(), None)

    def certificates(self, *, clients: bool = False, address: str = "127.0.0.1") -> TlsConfig:
        """Return what a server needs; with `clients` it asks them for a certificate."""
        return TlsConfig(*self.issue("server", address=address), self.ca if clients else None)

    def trusting(self, name: str = "", *, days: int = 1) -> ssl.SSLContext:
        """Return what a client needs; with a name it has a certificate of its own."""
        if not name:
            return trusting(self.ca)
        cert, key = self.issue(name, days=days)
        return trusting(self.ca, cert=cert, key=key)


def _in(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
