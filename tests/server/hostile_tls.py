"""A TLS client that sends records which no TLS library would, encrypted with its session's keys."""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    import socket
    from pathlib import Path

# Types of records, and the head of a ClientHello without a body: in the middle of a session of
# TLS 1.2 that is a request for a renegotiation.
HANDSHAKE, PAYLOAD = 22, 23
CLIENT_HELLO = b"\x01\x00\x00\x00"
# Of TLS 1.3: the sender has new keys from the next record on, and asks for the same.
KEY_UPDATE = b"\x18\x00\x00\x01\x01"


class HostileTls:
    """Shakes hands on `sock` by Python's own TLS, then writes each record itself.

    `context` is a client's; it is limited to `version` here, and writes its secrets into
    `folder`. The keys are made from these, as RFC 5246 (TLS 1.2) and RFC 8446 (TLS 1.3) say.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, version: str, folder: Path
    ) -> None:
        secrets = folder / f"secrets-{os.urandom(4).hex()}"
        context.keylog_filename = str(secrets)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        context.set_ciphers("ECDHE+AES128+AESGCM")  # of TLS 1.2; Python's 1.3 begins with AES-256
        self.sock = sock
        self._is_1_3 = version == "TLSv1_3"
        self._wire = b""
        self._shake_hands(context)
        found = {row.split()[0]: row.split()[1:] for row in secrets.read_text().splitlines()}
        if self._is_1_3:
            self._use(bytes.fromhex(found["CLIENT_TRAFFIC_SECRET_0"][1]))
        else:
            client_random, master = map(bytes.fromhex, found["CLIENT_RANDOM"])
            server_random = self._wire[11:43]  # behind the heads of its record and its message
            block = _key_block(master, server_random + client_random, 40)
            self._cipher, self._iv = AESGCM(block[:16]), block[32:36]
            self._number = 1  # its Finished was the first

    def record(self, content: bytes, kind: int = PAYLOAD) -> bytes:
        """Return the next record of the stream, which is for sending."""
        number = struct.pack(">Q", self._number)
        self._number += 1
        if self._is_1_3:
            head = struct.pack(">BHH", PAYLOAD, 0x0303, len(content) + 17)
            nonce = bytes(a ^ b for a, b in zip(self._iv, bytes(4) + number, strict=True))
            return head + self._cipher.encrypt(nonce, content + bytes([kind]), head)
        bound = number + struct.pack(">BHH", kind, 0x0303, len(content))
        body = number + self._cipher.encrypt(self._iv + number, content, bound)
        return struct.pack(">BHH", kind, 0x0303, len(body)) + body

    def key_update(self) -> bytes:
        """Return a record that renews the keys, which all later ones have."""
        record = self.record(KEY_UPDATE, HANDSHAKE)
        self._use(_expand(self._secret, b"traffic upd", 48))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._cipher, self._iv = AESGCM(_expand(secret, b"key", 32)), _expand(secret, b"iv", 12)

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        came, due = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(came, due, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(due.read())
                part = self.sock.recv(65536)
                assert part, "the server ended the handshake"
                self._wire += part
                came.write(part)
            else:
                self.sock.sendall(due.read())
                return


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """Return a key of TLS 1.3: HKDF-Expand-Label without a context."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)


def _key_block(master: bytes, seed: bytes, length: int) -> bytes:
    """Return the keys of TLS 1.2, by its pseudorandom function over SHA-256."""
    seed = link = b"key expansion" + seed
    block = b""
    while len(block) < length:
        link = hmac.digest(master, link, hashlib.sha256)
        block += hmac.digest(master, link + seed, hashlib.sha256)
    return block
