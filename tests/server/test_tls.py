"""TLS in memory between a socket and a conversation: files that fit or do not, handshakes, ends, large and many writes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from leveret import config
from leveret.errors import ConfigError
from leveret.server import tls

from .certificates import Files
from .place import LIMIT_S, Place, run
from .place import place as echoing


def place(
    files: Files, handshake_timeout_s: float = 10.0, **settings: Path
) -> AbstractAsyncContextManager[Place]:
    offered = context(files, **settings)
    return echoing(lambda: [tls.TlsLayer(offered)], handshake_timeout_s=handshake_timeout_s)


# ---- the files


def context(files: Files, **changed: object) -> ssl.SSLContext:
    given: dict[str, object] = {"tls_certificate": files.certificate, "tls_key": files.key, **changed}
    return tls.context(config.load(None, {}, given))


def test_a_key_may_be_beside_its_certificate(certificates: Files) -> None:
    assert context(certificates, tls_certificate=certificates.client, tls_key=None)


def test_old_versions_are_not_offered(certificates: Files) -> None:
    assert context(certificates).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tls_certificate": "/nowhere/c.pem"}, "tls_certificate: cannot read /nowhere/c.pem: No such file"),
        ({"tls_key": "/nowhere/k.pem"}, "tls_key: cannot read /nowhere/k.pem: No such file"),
        ({"tls_client_ca": "/nowhere/a.pem"}, "tls_client_ca: cannot read /nowhere/a.pem: No such file"),
        ({"tls_certificate": "/"}, "tls_certificate: cannot read /: Is a directory"),
        ({"tls_certificate": "key"}, "tls_certificate: .*key.pem has no certificate in PEM"),
        ({"tls_key": "certificate"}, "tls_key: there is no private key in .*certificate.pem"),
        ({"tls_key": "stranger"}, "tls_key: .*stranger.pem is not the key of .*certificate.pem"),
        ({"tls_key": "locked"}, "tls_key: .*locked.pem is locked by a password"),
        ({"tls_client_ca": "key"}, "tls_client_ca: .*key.pem has no certificate in PEM"),
        ({"tls_certificate": "rubbish"}, "tls_certificate: .*rubbish has no certificate in PEM"),
        ({"tls_key": "rubbish"}, "tls_key: there is no private key in .*rubbish"),
    ],
)
def test_files_that_cannot_be_used(
    certificates: Files, changed: dict[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "rubbish").write_bytes(b"\xff\x00 no PEM")
    known = {
        "key": certificates.key,
        "certificate": certificates.certificate,
        "stranger": certificates.stranger,
        "rubbish": tmp_path / "rubbish",
        "locked": locked(certificates.key, tmp_path / "locked.pem"),
    }
    with pytest.raises(ConfigError, match=words):
        context(certificates, **{name: known.get(value, value) for name, value in changed.items()})


def locked(key: Path, path: Path) -> Path:
    """The same key behind a password."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    path.write_bytes(
        found.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


# ---- conversations


def test_bytes_go_both_ways_as_they_are(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            reader, writer = await asyncio.open_connection(*at.address, ssl=certificates.context())
            for size in (1, 16_384, 16_385, 700_000):
                data = bytes(range(256)) * (size // 256 + 1)
                writer.write(data)
                assert await reader.readexactly(len(data)) == data
            assert at.links[0].transport_name == "tls"
            assert writer.get_extra_info("cipher")[1] in ("TLSv1.2", "TLSv1.3")
            writer.close()
            await writer.wait_closed()
            assert await at.until_ended() == "closed by the client without a close"
            assert at.spoken[0].gone

    run(main)


def test_tls_1_2(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            offered = certificates.context()
            offered.maximum_version = ssl.TLSVersion.TLSv1_2
            reader, writer = await asyncio.open_connection(*at.address, ssl=offered)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await at.until_ended()

    run(main)


def blocking(address: tuple[str, int], files: Files) -> ssl.SSLSocket:
    plain = socket.create_connection(address)
    return files.context().wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


def test_an_end_by_the_broker_is_said(certificates: Files) -> None:
    """Its last words arrive, and a close_notify behind them: an end that nobody has cut short."""

    async def main() -> None:
        async with place(certificates) as at:

            def talk() -> tuple[bytes, bytes]:
                with blocking(at.address, certificates) as sock:
                    sock.sendall(b"quit")
                    return sock.recv(10), sock.recv(10)

            assert await asyncio.to_thread(talk) == (b"bye", b"")
            assert await at.until_ended() == ""

    run(main)


def test_an_end_that_is_left_to_the_client(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:

            def talk() -> tuple[bytes, bool]:
                with blocking(at.address, certificates) as sock:
                    sock.sendall(b"off")
                    last = sock.recv(10)
                    sock.settimeout(0.05)
                    try:
                        sock.recv(10)
                    except TimeoutError:
                        open_still = True
                    else:
                        open_still = False
                    sock.settimeout(LIMIT_S)
                    sock.unwrap()  # says goodbye, and waits for the answer
                    return last, open_still

            assert await asyncio.to_thread(talk) == (b"bye", True)
            assert await at.until_ended() == ""

    run(main)


def test_a_slow_reader_gets_all_in_order(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            reader, writer = await asyncio.open_connection(*at.address, ssl=certificates.context())
            writer.write(b"x")
            await reader.readexactly(1)
            expected = bytearray()
            for number in range(400):
                part = bytes([number % 256]) * 50_000
                at.spoken[0].says(part)
                expected += part
            await asyncio.sleep(0)
            assert at.links[0].peer.unsent > 0
            assert await reader.readexactly(len(expected)) == bytes(expected)
            assert at.links[0].peer.unsent == 0
            writer.close()

    run(main)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "TLS: http request"),
        (b"AMQP\x00\x00\x09\x01" * 4, "TLS: wrong version number"),
        (b"\x16\x03\x01\x00\x05hello", "TLS: "),
    ],
)
def test_what_is_no_handshake_ends_with_a_reason(certificates: Files, said: bytes, reason: str) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            reader, writer = await asyncio.open_connection(*at.address)
            writer.write(said)
            await reader.read()
            writer.close()
            assert (await at.until_ended()).startswith(reason)
            assert at.spoken[0].heard == []

    run(main)


def test_a_handshake_has_its_time(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates, handshake_timeout_s=0.1) as at:
            reader, writer = await asyncio.open_connection(*at.address)
            writer.write(b"\x16\x03\x01")
            assert await reader.read() == b""
            assert at.ends == ["handshake_timeout"]
            writer.close()

    run(main)


def test_a_client_that_goes_in_its_handshake(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            _, writer = await asyncio.open_connection(*at.address)
            writer.write(b"\x16\x03\x01")
            writer.close()
            assert await at.until_ended() == "closed by the client without a close"

    run(main)


@pytest.mark.parametrize("shown", ["nothing", "stranger", "client"])
def test_certificates_of_clients(certificates: Files, shown: str) -> None:
    async def main() -> None:
        async with place(certificates, tls_client_ca=certificates.ca) as at:
            path = {"client": certificates.client, "stranger": certificates.stranger}.get(shown)
            try:
                reader, writer = await asyncio.open_connection(*at.address, ssl=certificates.context(path))
                writer.write(b"hello")
                answer = await reader.read(5)
            except (ssl.SSLError, ConnectionError):
                answer = b""
            assert answer == (b"hello" if shown == "client" else b"")
            assert [b"".join(each.heard) for each in at.spoken] == [answer]
            if shown == "client":
                writer.close()
            reason = await at.until_ended()
            assert shown == "client" or reason.startswith("TLS: ")

    run(main)


def test_a_broker_that_stops_says_goodbye(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at:
            reader, writer = await asyncio.open_connection(*at.address, ssl=certificates.context())
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        assert await reader.read() == b""
        writer.close()

    run(main)
