"""TLS at the server: the echo, the log, the end, and whatever can be wrong with it."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtensionOID
from hypothesis import given
from hypothesis import strategies as st

from echo import EchoClient, EchoHandler, EchoServer, Limits
from echo.client import EchoEnded
from echo.client.tls import trusting
from echo.server.proxy import Proxies
from echo.server.session import Session
from echo.server.subject import SUBJECT_CHARS, subject_of
from echo.server.tls import BadCertificate, TlsConfig
from echo.testing import running_server
from echo.tls import TlsError, TlsSocket
from tests.authority import Authority
from tests.conftest import check_events
from tests.debian import need
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.testing import RunningServer

# OpenSSL's words for a record that doesn't decrypt: until 3.4, and since 3.5.
BROKEN_RECORD = "decryption failed|record layer failure"


@pytest.fixture
def server(authority: Authority) -> Iterator[RunningServer]:
    """Run a server that speaks TLS, and check its events at the end."""
    with running_server(tls=authority.certificates()) as running:
        yield running
    check_events(running)


def closing_line(server: RunningServer, count: int = 1) -> dict[str, Any]:
    """Wait for the last of `count` closing lines."""
    return server.log.wait_for("session.closed", count)[-1]


# -- the echo -----------------------------------------------------------------------------


def test_it_echoes_and_says_how_it_was_encrypted(
    server: RunningServer, authority: Authority
) -> None:
    """Ten megabytes come back; the closing line counts payload, and names protocol and cipher."""
    data = bytes(range(256)) * 40_000
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        back = client.echo(data)
        client.finish()
    closed = closing_line(server)

    assert back == data
    assert (closed["reason"], closed["received_bytes"]) == ("eof", len(data))
    assert (closed["tls_protocol"], closed["tls_cipher"]) == (
        "TLSv1.3",
        "TLS_AES_256_GCM_SHA384",
    )
    assert "tls_subject" not in closed
    assert "detail" not in closed


def test_a_buffer_smaller_than_a_record_loses_nothing(authority: Authority) -> None:
    """What OpenSSL holds decrypted is read before anything is waited for."""
    tls = authority.certificates()
    with running_server(tls=tls, limits=Limits(buffer_size=100)) as server:
        with EchoClient(*server.address, tls=authority.trusting()) as client:
            assert client.echo(b"x" * 40_000) == b"x" * 40_000


def test_tls_1_2_is_spoken_and_1_1_is_not(server: RunningServer, authority: Authority) -> None:
    """The oldest version is 1.2."""
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with EchoClient(*server.address, tls=context) as client:
        assert client.echo(b"hello") == b"hello"
    assert closing_line(server)["tls_protocol"] == "TLSv1.2"
    old = authority.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match="protocol version"):
        EchoClient(*server.address, tls=old).connect()

    refused = closing_line(server, 2)
    assert (refused["reason"], refused["detail"]) == ("tls_error", "unsupported protocol")


def test_a_client_certificate_is_asked_for_and_named(authority: Authority) -> None:
    """With a client authority, only who has its certificate is served, and the log says who."""
    tls = authority.certificates(clients=True)
    with running_server(tls=tls) as server:
        with EchoClient(*server.address, tls=authority.trusting("alice, the 1st")) as client:
            assert client.echo(b"hello") == b"hello"
        subject = closing_line(server)["tls_subject"]
        with EchoClient(*server.address, tls=authority.trusting(), timeout=seconds(10)) as client:
            with pytest.raises(EchoEnded, match="certificate required"):
                client.echo(b"hello")
        without = closing_line(server, 2)
        with EchoClient(*server.address, tls=authority.trusting("bob", days=-1)) as client:
            with pytest.raises(EchoEnded, match="certificate expired"):
                client.echo(b"hello")
        expired = closing_line(server, 3)

    assert "commonName=alice\\, the 1st" in subject
    assert without["reason"] == expired["reason"] == "tls_error"
    assert without["detail"] == "peer did not return a certificate"
    assert expired["detail"] == "certificate verify failed: certificate has expired"


# -- the end ------------------------------------------------------------------------------


class Tap:
    """A TLS client that sees what is on the wire: each record's type, and every byte in one."""

    def __init__(
        self, server: RunningServer | None, context: ssl.SSLContext, raw: Any = None
    ) -> None:
        self.raw = raw or socket.create_connection(server.address, seconds(10))  # type: ignore[union-attr]
        self.wire = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self._until(self._tls.do_handshake)

    def before_reading(self) -> None:
        """Be called before each read."""

    def echo(self, data: bytes) -> bytes:
        """Send `data`, and give what comes back of it."""
        self._tls.write(data)
        return bytes(self._until(lambda: self._tls.read(len(data))))

    def send(self, data: bytes) -> None:
        """Send `data`."""
        self._tls.write(data)
        self._flush()

    def send_with(self, data: bytes, more: bytes) -> None:
        """Send `data`, and bytes that are no TLS right behind it."""
        self._tls.write(data)
        self.raw.sendall(self._out.read() + more)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes of payload."""
        came = b""
        while len(came) < count:
            came += self._until(partial(self._tls.read, count - len(came)))
        return came

    def to_the_end(self) -> bytes:
        """Take all there is to the end of the TCP stream; give what was in it."""
        rest = b""
        while more := self._until(lambda: self._tls.read(65536)):
            rest += more
        while more := self.raw.recv(65536):
            self.wire += more
        self.raw.close()
        return rest

    def records(self) -> list[int]:
        """Return the types of all records; bytes that are in none fail."""
        types, rest = [], self.wire
        while rest:
            assert rest[0] in {20, 21, 22, 23}, f"plaintext: {rest[:40]!r}"
            assert rest[1] == 3, f"plaintext: {rest[:40]!r}"
            length = 5 + int.from_bytes(rest[3:5], "big")
            assert len(rest) >= length, "a torn record"
            types.append(rest[0])
            rest = rest[length:]
        return types

    def _until(self, step: Any) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self.before_reading()
                data = self.raw.recv(65536)
                self.wire += data
                self._in.write(data)
                if not data:
                    self._in.write_eof()
            except ssl.SSLZeroReturnError:  # the server's close_notify
                return b""
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._out.read():
            self.raw.sendall(data)


def test_a_drain_ends_with_close_notify_and_nothing_in_the_clear(
    server: RunningServer, authority: Authority
) -> None:
    """On the wire there are whole TLS records only, and the last one is an alert."""
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose alerts can be told by their type
    tap = Tap(server, context)
    echoed = tap.echo(b"hello")
    drain = threading.Thread(target=server.server.drain, args=(seconds(20),))
    drain.start()
    rest = tap.to_the_end()
    drain.join()
    types = tap.records()

    assert (echoed, rest) == (b"hello", b"")
    assert types[-1] == 21
    assert types.count(21) == 1
    assert closing_line(server)["reason"] == "drained"


def test_a_drain_under_load_loses_nothing_and_says_nothing_in_the_clear(
    server: RunningServer, authority: Authority
) -> None:
    """Peers that are sending when the drain comes get a prefix of it, close_notify, records only.

    A truncated stream, one without close_notify, would raise here.
    """
    context = authority.trusting()
    taps = [Tap(server, context) for _ in range(4)]
    for tap in taps:
        tap.raw.sendall(b"")
        tap.echo(b"warm")

    def keep_sending(tap: Tap) -> None:
        with suppress(OSError):  # it may be over before all is sent
            while tap.echo(b"y" * 5000):
                pass
        with suppress(OSError):  # the system may reset what came after the end
            tap.to_the_end()

    threads = [threading.Thread(target=keep_sending, args=(tap,)) for tap in taps]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.server.totals()["sent_bytes"] > 200_000)
    drained = server.server.drain(seconds(20))
    for thread in threads:
        thread.join(seconds(20))
    for tap in taps:
        tap.raw.close()

    assert drained
    assert all(set(tap.records()) <= {20, 21, 22, 23} for tap in taps)
    assert {line["reason"] for line in server.log.named("session.closed")} == {"drained"}


def test_a_cut_says_nothing_in_the_clear(server: RunningServer, authority: Authority) -> None:
    """A session that is cut ends in the middle, but what it sent is TLS to the last byte."""
    tap = Tap(server, authority.trusting())
    tap.echo(b"hello" * 1000)
    server.server.start_draining()
    server.server.cut()
    with suppress(OSError):
        while tap.echo(b"still here?"):  # nothing is close_notify: it was drained before the cut
            pass

    assert set(tap.records()) <= {20, 21, 22, 23}
    tap.raw.close()


def test_the_end_waits_for_room_for_its_close_notify(authority: Authority) -> None:
    """A peer whose buffers are full gets its close_notify once it reads."""
    tls = authority.certificates()
    with running_server(tls=tls, limits=Limits(session_timeout=0.5)) as server:
        small_buffers(server)
        with EchoClient(*server.address, tls=authority.trusting()) as client:
            client.sock.settimeout(0.2)
            with suppress(OSError):  # late, or on a slow machine over before that
                fill(client.sock)
            server.log.wait_for("session.closed")

    assert closing_line(server)["reason"] == "session_timeout"


def small_buffers(server: RunningServer) -> None:
    """Let the sessions to come hold as little as the system allows."""
    server.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def fill(sock: socket.socket) -> None:
    """Send until nothing goes any more."""
    while True:
        sock.send(bytes(16384))


# -- what is wrong ------------------------------------------------------------------------


def test_plain_text_is_no_handshake(server: RunningServer) -> None:
    """Who doesn't speak TLS gets an alert, and the log says what he did wrong."""
    with socket.create_connection(server.address, seconds(10)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(100), b""))
    closed = closing_line(server)

    assert answer[:1] in (b"", b"\x15")
    assert (closed["reason"], closed["detail"]) == ("tls_error", "http request")
    assert closed["received_bytes"] == 0


def test_a_handshake_that_does_not_end_is_ended(authority: Authority) -> None:
    """A peer that is silent, or drips, is ended after the time for a handshake."""
    tls = authority.certificates()
    tls.timeout = 0.3
    with running_server(tls=tls) as server:
        with (
            socket.create_connection(server.address, seconds(10)) as silent,
            socket.create_connection(server.address, seconds(10)) as dripping,
        ):
            dripping.sendall(b"\x16\x03\x01\x02\x00")
            assert not silent.recv(100)
            assert not dripping.recv(100)
        closed = server.log.wait_for("session.closed", 2)
    check_events(server)

    assert {line["reason"] for line in closed} == {"tls_error"}
    assert {line["detail"] for line in closed} == {"no handshake in time"}


def test_a_drip_longer_than_the_deadline_is_ended(authority: Authority) -> None:
    """Bytes that keep coming don't move the handshake's deadline."""
    tls = authority.certificates()
    tls.timeout = 0.3
    with running_server(tls=tls) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sock.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc")
            drip = threading.Event()
            while not server.log.named("session.closed"):
                with suppress(OSError):
                    sock.sendall(b"x")
                drip.wait(0.01)

    assert closing_line(server)["reason"] == "tls_error"


def test_a_drain_ends_a_handshake(authority: Authority) -> None:
    """A peer in the middle of its handshake doesn't hold a stop up."""
    tls = authority.certificates()
    tls.timeout = 60
    with running_server(tls=tls) as server:
        with socket.create_connection(server.address, seconds(10)):
            wait_until(lambda: server.sessions and server.sessions[0].thread)
            assert server.server.drain(seconds(20))

    assert closing_line(server)["reason"] == "drained"


class SlowTap(Tap):
    """Begins to read when its buffer is full, so that the sender has had to wait by then."""

    patient = True

    def before_reading(self) -> None:
        """Wait once."""
        if self.patient:
            wait_until(lambda: len(self.raw.recv(65536, socket.MSG_PEEK)) >= 4096)
            self.patient = False


def test_a_long_chain_goes_out_in_several_turns(authority: Authority) -> None:
    """The handshake waits for room as well as for input."""
    cert, key = authority.issue("long", chain=60)
    with running_server(tls=TlsConfig(cert, key)) as server:
        small_buffers(server)
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(seconds(10))
            raw.connect(server.address)
            tap = SlowTap(server, authority.trusting(), raw)

            assert tap.echo(b"hello") == b"hello"


def test_a_peer_that_is_gone_before_its_handshake_is_a_reset(authority: Authority) -> None:
    """Connect, send, reset: one closing line, no error in the daemon."""
    with running_server(tls=authority.certificates()) as server:
        for _ in range(20):
            client = EchoClient(*server.address)
            client.connect()
            client.send(b"x")
            client.reset()
        closed = server.log.wait_for("session.closed", 20)
    check_events(server)

    assert {line["reason"] for line in closed} <= {"reset", "tls_error"}
    assert not server.log.named("server.error")


def test_a_record_that_was_tampered_with_ends_the_session(
    server: RunningServer, authority: Authority
) -> None:
    """Bytes that don't decrypt are `tls_error`, with OpenSSL's word for it."""
    tap = Tap(server, authority.trusting())
    tap.echo(b"hello")
    tap.raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    closed = closing_line(server)
    tap.raw.close()

    assert closed["reason"] == "tls_error"
    assert re.search(BROKEN_RECORD, closed["detail"])
    assert closed["sent_bytes"] == 5


def test_payload_before_a_broken_record_is_counted(
    server: RunningServer, authority: Authority
) -> None:
    """What came whole is payload, and what is wrong behind it in the same packet is the reason."""
    tap = Tap(server, authority.trusting())
    tap.echo(b"hello")
    tap.send_with(b"again", b"\x17\x03\x03\x00\x20" + bytes(32))
    closed = closing_line(server)
    tap.raw.close()

    assert (closed["reason"], closed["received_bytes"]) == ("tls_error", 10)
    assert re.search(BROKEN_RECORD, closed["detail"])


def test_a_broken_record_of_a_peer_that_is_gone_is_an_error_of_tls(authority: Authority) -> None:
    """Nobody is there for the alert; what was wrong is told all the same."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(seconds(10))
        sock = TlsSocket(here, authority.certificates().context, server_side=True)
        shaking = threading.Thread(target=sock.do_handshake)
        shaking.start()
        Tap(None, authority.trusting(), there).raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        shaking.join()
        there.close()
        for _ in range(2):
            with pytest.raises(TlsError, match=BROKEN_RECORD):
                sock.recv(10)


def test_a_tls_socket_waits_for_room(authority: Authority) -> None:
    """A long chain of certificates, then payload, then the end go out as there is room."""
    cert, key = authority.issue("long client", chain=60)
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for end in here, there:
            end.settimeout(seconds(20))
        context = authority.certificates(clients=True).context
        server = TlsSocket(there, context, server_side=True)
        shaking = threading.Thread(target=server.do_handshake)
        shaking.start()
        mine = trusting(authority.ca, cert=cert, key=key)
        client = TlsSocket(here, mine, server_hostname="127.0.0.1")
        client.do_handshake()
        shaking.join()
        client.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += client.send(bytes(1000))
        with pytest.raises(BlockingIOError):
            client.shutdown(socket.SHUT_WR)
        ending = threading.Thread(target=lambda: count.append(len(read_all(server))))
        count: list[int] = []
        ending.start()
        client.settimeout(seconds(20))
        client.shutdown(socket.SHUT_WR)
        ending.join()

    assert count == [sent + 1000]  # the last of them was encrypted already


def read_all(sock: TlsSocket) -> bytes:
    """Read to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_header_without_its_handshake_ends_without_tls(authority: Authority) -> None:
    """A connection that ends before TLS began is `proxy_error`, and gets no alert."""
    proxies, tls = Proxies([]), authority.certificates()
    with running_server(tls=tls, proxies=proxies) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            assert sock.recv(10) == b""

        assert closing_line(server)["reason"] == "proxy_error"


# -- the files ----------------------------------------------------------------------------


def test_files_that_do_not_fit_are_refused(authority: Authority, tmp_path: Path) -> None:
    """A key of another certificate, an expired one, no PEM, no file: each is said in a line."""
    cert, key = authority.issue("one")
    _, other = authority.issue("two")
    old = authority.issue("old", days=-1)
    junk = tmp_path / "junk"
    junk.write_text("no PEM")
    cases = {
        (cert, other, None): "key values mismatch",
        (*old, None): "certificate has expired",
        (junk, key, None): "not PEM",
        (tmp_path / "none", key, None): "No such file",
        (cert, key, junk): "no certificate",
        (cert, key, tmp_path / "none"): "No such file",
    }
    for files, why in cases.items():
        with pytest.raises(BadCertificate, match=why) as caught:
            TlsConfig(*files)

        assert "\n" not in str(caught.value)


def test_what_else_a_certificate_says_is_its_owner_s_business(tmp_path: Path) -> None:
    """One for another purpose, say, is served: clients may know why."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=odd"]
    command += ["-addext", "extendedKeyUsage=clientAuth", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)

    assert TlsConfig(cert, key).context


def test_a_key_with_a_passphrase_is_refused_without_asking(authority: Authority) -> None:
    """A daemon has no terminal to ask on."""
    cert, key = authority.issue("one")
    locked = key.with_suffix(".locked")
    command = ["rsa" if b"RSA" in key.read_bytes() else "ec", "-aes128", "-passout", "pass:secret"]
    subprocess.run(
        [need("openssl"), *command, "-in", key, "-out", locked], check=True, capture_output=True
    )

    with pytest.raises(BadCertificate, match="locked with a passphrase"):
        TlsConfig(cert, locked)


def test_reloading_serves_the_new_certificate_and_keeps_the_old_where_that_fails(
    authority: Authority,
) -> None:
    """New sessions get what is in the files now; sessions under way go on."""
    certificates = authority.certificates()
    with running_server(tls=certificates) as server:
        with EchoClient(*server.address, tls=authority.trusting()) as before:
            first = before.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined]
            authority.issue("server")
            certificates.reload()
            with EchoClient(*server.address, tls=authority.trusting()) as after:
                second = after.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined]
            authority.issue("server", days=-1)
            with pytest.raises(BadCertificate):
                certificates.reload()
            with EchoClient(*server.address, tls=authority.trusting()) as third:
                assert third.sock.getpeercert(binary_form=True) == second  # type: ignore[attr-defined]
            assert before.echo(b"still here") == b"still here"

    assert first != second


# -- a foreign client ---------------------------------------------------------------------


def s_client(server: RunningServer, authority: Authority, *flags: str) -> subprocess.Popen[bytes]:
    """Start openssl's own client."""
    return subprocess.Popen(
        [
            *(need("openssl"), "s_client", "-connect", "{}:{}".format(*server.address)),
            *("-CAfile", str(authority.ca), "-verify_return_error", "-verify_hostname"),
            *("localhost", "-quiet", "-no_ign_eof", *flags),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_talks_to_it(server: RunningServer, authority: Authority, version: str) -> None:
    """`openssl s_client` verifies the certificate, gets its lines back, and ends cleanly."""
    with s_client(server, authority, version) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\ntwo\n")
        client.stdin.flush()
        lines = [client.stdout.readline(), client.stdout.readline()]
        client.stdin.close()
        client.stdin = None
        code = client.wait(seconds(20))

    assert lines == [b"one\n", b"two\n"]
    assert code == 0
    closed = closing_line(server)
    assert (closed["reason"], closed["received_bytes"]) == ("eof", 8)


def test_openssl_renews_its_keys(server: RunningServer, authority: Authority) -> None:
    """A key update in TLS 1.3 is answered, and the echo goes on."""
    with s_client(server, authority, "-tls1_3") as client:
        client.kill()
    command = [a for a in client.args if a not in {"-quiet", "-no_ign_eof"}]  # type: ignore[union-attr]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        lines = iter(client.stdout.readline, b"")
        client.stdin.write(b"K\n")
        client.stdin.flush()
        assert any(b"KEYUPDATE" in line for line in lines)
        client.stdin.write(b"after the update\n")
        client.stdin.flush()
        assert any(b"after the update" in line for line in lines)
        client.stdin.write(b"Q\n")
        client.stdin.close()
        client.stdin = None
        client.wait(seconds(20))


def test_a_drain_is_a_clean_end_for_openssl(server: RunningServer, authority: Authority) -> None:
    """`s_client` reports no error when the daemon drains."""
    with s_client(server, authority, "-tls1_3") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        line = client.stdout.readline()
        assert server.server.drain(seconds(20))
        code = client.wait(seconds(20))
        assert client.stderr is not None
        said = client.stderr.read()

    assert (line, code) == (b"one\n", 0)
    assert b"error" not in said.lower().replace(b"verify error", b"error")


def test_trusting_takes_the_system_s_authorities(server: RunningServer) -> None:
    """Without an authority of one's own, this server is a stranger."""
    with pytest.raises(OSError, match="certificate verify failed"):
        EchoClient(*server.address, tls=trusting()).connect()


# -- the socket ---------------------------------------------------------------------------


def test_nothing_goes_out_in_the_clear_once_tls_is_over(
    server: RunningServer, authority: Authority
) -> None:
    """After both ends have said close_notify there is nothing to send, and nothing to read."""
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        client.echo(b"hello")
        client.finish()
        client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            client.sock.send(b"plain")
        assert client.sock.recv(10) == b""
        assert client.sock.recv_into(bytearray(10)) == 0


def test_an_end_of_the_other_side_is_the_end_of_what_is_read(
    server: RunningServer, authority: Authority
) -> None:
    """Having sent close_notify, a read that finds the other's is a plain end of stream."""
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        client.echo(b"hello")
        client.half_close()
        wait_until(lambda: server.log.named("session.closed"))
        client.sock.setblocking(True)
        assert client.sock.recv_into(bytearray(10)) == 0


def test_a_cut_of_both_directions_is_one_of_the_connection(
    server: RunningServer, authority: Authority
) -> None:
    """`SHUT_RDWR` goes below TLS."""
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        client.echo(b"hello")
        client.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionError):
            client.sock.send(b"x")
    closing_line(server)


def test_a_session_that_is_cut_before_its_handshake_is_over(authority: Authority) -> None:
    """A cut that comes before the handshake, or in the middle of it, ends the session at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    session = Session(accepted, "127.0.0.1", 1, session_id="s-1")
    session.shut_down()
    with EchoServer(("127.0.0.1", 0), EchoHandler) as server, suppress(OSError):
        authority.certificates().shake_hands(session, server)

    assert client.recv(1) == b""
    client.close()
    session.sock.close()


def test_only_what_is_encrypted_is_in_reach(server: RunningServer, authority: Authority) -> None:
    """A TLS socket has no flags, and none of a socket's methods that would send plain text."""
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        with pytest.raises(ValueError, match="flags"):
            client.sock.recv(1, socket.MSG_PEEK)
        with pytest.raises(AttributeError, match="sendmsg"):
            client.sock.sendmsg([b"plain"])

        assert client.sock.gettimeout() == 0
        client.sock.settimeout(seconds(10))
        with client.sock.makefile("rwb", 0) as file:
            file.write(b"a line\n")
            assert file.readline() == b"a line\n"
        client.sock.setblocking(False)
        assert client.echo(b"hello") == b"hello"


class FileHandler(socketserver.StreamRequestHandler):
    """Uses what the framework gives a handler: files, `sendall`, `sendfile`, the socket."""

    def handle(self) -> None:
        """Answer each line with itself; `file` is answered with some of this file."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in self.rfile:
            if line == b"file\n":
                with Path(__file__).open("rb") as file:
                    self.connection.sendfile(file, 3, 40_000)
                    self.connection.sendfile(file, 0)
            elif line == b"name\n":
                self.connection.sendall(f"{self.connection.getpeername()[0]}\n".encode())
            else:
                self.wfile.write(line)


def test_every_handler_of_socketserver_works(authority: Authority) -> None:
    """Files, `sendall` and `sendfile` go through TLS, and the payload is counted."""
    source = Path(__file__).read_bytes()
    due = b"hello\n127.0.0.1\n" + source[3:40_003] + source
    with running_server(handler=FileHandler, tls=authority.certificates()) as server:
        tap = Tap(server, authority.trusting())
        tap.send(b"hello\nname\nfile\n")
        came = tap.take(len(due))
        tap.raw.shutdown(socket.SHUT_WR)
        rest = tap.to_the_end()
        closed = closing_line(server)

    assert (came, rest) == (due, b"")
    assert closed["reason"] == "eof"
    assert (closed["received_bytes"], closed["sent_bytes"]) == (16, len(due))


# -- bytes without payload ----------------------------------------------------------------


def drip(tap: Tap, server: RunningServer) -> dict[str, Any]:
    """Send a record that never ends, a byte now and then, until the session is over."""
    data = b"\x17\x03\x03\x40\x00" + bytes(16384)
    pause = threading.Event()
    with closing(tap.raw), suppress(OSError):
        for at in range(1000):
            if server.log.named("session.closed"):
                break
            tap.raw.send(data[at : at + 1])
            pause.wait(0.02)
        else:
            raise AssertionError("the session went on")
    return closing_line(server)  # a closed socket may be seen before it is written


@pytest.mark.parametrize("handler", [EchoHandler, FileHandler])
def test_a_record_that_drips_is_silence(authority: Authority, handler: Any) -> None:
    """Bytes of a record don't keep a peer that sends no payload beyond the idle time-out.

    The time-out of a socket that blocks counts until there is payload, too.
    """
    limits = Limits(idle_timeout=0.3)
    tls = authority.certificates()
    with running_server(tls=tls, limits=limits, handler=handler) as server:
        tap = Tap(server, authority.trusting())
        tap.echo(b"hello\n")
        closed = drip(tap, server)

    assert closed["reason"] == "idle_timeout"


def test_a_bare_end_is_answered_with_close_notify(
    server: RunningServer, authority: Authority
) -> None:
    """A peer that sends FIN without close_notify gets one, and no other alert."""
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose alerts can be told by their type
    tap = Tap(server, context)
    tap.echo(b"hello")
    tap.raw.shutdown(socket.SHUT_WR)
    rest = tap.to_the_end()  # an alert that is fatal would raise

    assert rest == b""
    assert tap.records().count(21) == 1
    assert closing_line(server)["reason"] == "eof"


# -- a client's certificate ---------------------------------------------------------------


def odd_client(authority: Authority) -> tuple[Path, Path]:
    """Issue a certificate whose alternative name is not ASCII, and whose subject is not either."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "caf\u00e9, b=c"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "\uc548\ub155"),
            x509.NameAttribute(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), "unknown"),
        ]
    )
    now = datetime.now(UTC)
    names = b"\x30\x06\x82\x04caf\xe9"
    issuer = x509.load_pem_x509_certificate(authority.ca.read_bytes())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names), False
        )
        .sign(authority.key(), hashes.SHA256())
    )
    cert_path, key_path = authority.folder / "odd.pem", authority.folder / "odd.key"
    cert_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_path, key_path


def test_a_certificate_whose_names_are_not_ascii_is_served(authority: Authority) -> None:
    """Only its subject is read, whatever its alternative names are."""
    cert, key = odd_client(authority)
    context = trusting(authority.ca, cert=cert, key=key)
    with running_server(tls=authority.certificates(clients=True)) as server:
        with EchoClient(*server.address, tls=context) as client:
            assert client.echo(b"hello") == b"hello"
        closed = closing_line(server)

    assert closed["tls_subject"] == (
        "organizationName=caf\u00e9\\, b\\=c,commonName=\uc548\ub155,1.3.6.1.4.1.99999.7=unknown"
    )
    assert not server.log.named("server.error")


@given(data=st.data())
def test_no_certificate_is_an_error(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever the bytes are, there is a subject, if need be an empty one."""
    if not (known := ODD):
        authority = Authority(tmp_path_factory.mktemp("tls"))
        known.append(ssl.PEM_cert_to_DER_cert(odd_client(authority)[0].read_text()))
    whole = known[0]
    at = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=8))

    assert len(subject_of(whole[:at] + noise + whole[at + len(noise) :])) <= SUBJECT_CHARS
    assert len(subject_of(noise)) <= SUBJECT_CHARS


ODD: list[bytes] = []
