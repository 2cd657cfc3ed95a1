"""Which listeners a configuration means, what is said where one cannot be, and conversations through each of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import leveret
from leveret import config
from leveret.embed import Broker, run_in_thread
from leveret.errors import ClientError, ConfigError
from leveret.server import listeners
from leveret.server.admin_connections import connection_row
from leveret.server.listeners import KINDS, Listeners

from .certificates import Files

ANY = "127.0.0.1:0"
LIMIT_S = 20
CONNECT = b"CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0"


def names(**given: object) -> list[str]:
    return [kind.name for kind in Listeners(config.load(None, {}, given)).wanted()]


def tls_files(files: Files) -> dict[str, Any]:
    return {"tls_certificate": files.certificate, "tls_key": files.key}


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "has_web", lambda: False)


# ---- the configuration


def test_what_is_on_by_itself(certificates: Files) -> None:
    assert names() == ["stomp", "web_stomp"]
    assert names(**tls_files(certificates)) == ["amqps", "stomp", "stomps", "web_stomp", "web_stomps"]
    assert names(stomp_port="off", web_stomp_port="off") == []


def test_ports_by_default() -> None:
    found = config.load(None, {}, {})
    ports = [getattr(found, kind.key) for kind in KINDS.values()]
    assert ports == [5671, 61613, 61614, 15674, 15673]


def test_a_free_port_for_amqp_means_free_ports_for_all() -> None:
    found = config.load(None, {}, {"amqp_port": 0, "stomp_port": 7})
    assert (found.stomp_port, found.web_stomp_port, found.stomps_port) == (7, 0, 0)
    assert found.sources["web_stomp_port"] == "amqp_port"
    assert config.load(None, {}, {"amqp_port": 7}).web_stomp_port == 15674


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stomps_port": 1}, "stomps_port: TLS needs a certificate"),
        ({"amqps_port": "0"}, "amqps_port: TLS needs a certificate"),
        ({"tls_key": "/k"}, "tls_key: it is of no use without tls_certificate"),
        ({"tls_client_ca": "/k"}, "tls_client_ca: it is of no use without tls_certificate"),
        (
            {"stomp_port": "on"},
            "--stomp-port: 'on' is not allowed; allowed: a port from 0 to 65535, or 'off'",
        ),
        ({"stomp_port": -1}, "--stomp-port: -1 is not allowed"),
        ({"stomp_destinations": "artemis"}, "'rabbitmq' or 'activemq'"),
        ({"web_stomp_origins": "example.com"}, "'example.com' is no origin"),
        ({"web_stomp_origins": ["https://example.com/page"]}, "is no origin"),
        ({"stomp_heartbeat_min_ms": 10}, "from 1000"),
    ],
)
def test_what_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load(None, {}, given)


def test_tls_may_be_off_without_a_certificate() -> None:
    assert names(stomps_port="off", amqps_port="off") == ["stomp", "web_stomp"]


def test_origins_are_taken_in_lower_case() -> None:
    found = config.load(None, {"LEVERET_WEB_STOMP_ORIGINS": "https://A.example, null"}, {})
    assert found.web_stomp_origins == ("https://a.example", "null")


def test_files_are_looked_at_before_anything_else() -> None:
    with pytest.raises(ConfigError, match="tls_certificate: cannot read /nowhere"):
        names(tls_certificate="/nowhere")


# ---- without the library


@pytest.mark.usefixtures("no_library")
def test_without_the_library_the_listener_is_off_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "leveret"):
        assert names() == ["stomp"]
        assert names(amqp_port=0) == ["stomp"]
    fields = [getattr(record, "fields", {}) for record in caplog.records]
    assert fields == 2 * [{"listener": "web_stomp", "why": listeners.NO_LIBRARY}]
    assert "leveret[web]" in listeners.NO_LIBRARY


@pytest.mark.usefixtures("no_library")
def test_to_ask_for_it_without_the_library_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"--web-stomp-port: .* install leveret\[web\]"):
        names(web_stomp_port=0)
    assert names(web_stomp_port="off") == ["stomp"]

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"web_stomp: .* install leveret\[web\]"):
            await Broker(listen_web_stomp=ANY).start()

    asyncio.run(main())


# ---- embedded


def run(main: Any) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), LIMIT_S)

    asyncio.run(limited())


def test_an_embedded_broker_listens_only_where_it_is_told_to() -> None:
    async def main() -> None:
        async with Broker() as broker:
            assert broker.addresses == {}
            with pytest.raises(ClientError, match=r"listen_stomp='127\.0\.0\.1:0'"):
                _ = broker.stomp_address
        async with Broker(listen=ANY, listen_stomp=ANY) as broker:
            assert broker.addresses == {"amqp": broker.address, "stomp": broker.stomp_address}
            with pytest.raises(ClientError, match="listen_web_stomp"):
                _ = broker.web_stomp_address

    run(main)


def test_what_an_embedded_broker_refuses() -> None:
    with pytest.raises(ConfigError, match="use listen_stomp="):
        Broker(stomp_port=1)
    with pytest.raises(ConfigError, match="listen_stomp: 'x' is not allowed"):
        Broker(listen_stomp="x")
    with pytest.raises(ConfigError, match="guest/guest is the only way in"):
        Broker(listen_stomp="0.0.0.0:0")

    async def main() -> None:
        with pytest.raises(ConfigError, match="stomps: TLS needs a certificate"):
            await Broker(listen_stomps=ANY).start()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="--stomp-port"):
                await Broker(listen_stomp=f"127.0.0.1:{port}").start()

    run(main)


def test_a_broker_on_a_thread() -> None:
    with run_in_thread(listen_stomp=ANY) as broker:
        with socket.create_connection(broker.stomp_address, LIMIT_S) as sock:
            sock.sendall(CONNECT)
            assert sock.recv(4_096).startswith(b"CONNECTED\nversion:1.2\n")
        assert set(broker.addresses) == {"amqp", "stomp"}


# ---- conversations


@contextlib.asynccontextmanager
async def everywhere(files: Files) -> AsyncIterator[Broker]:
    async with Broker(
        listen=ANY, listen_stomp=ANY, listen_web_stomp=ANY, listen_amqps=ANY, listen_stomps=ANY,
        listen_web_stomps=ANY, **tls_files(files),
    ) as broker:  # fmt: skip
        yield broker


@pytest.mark.parametrize("name", ["stomp", "stomps"])
def test_stomp(certificates: Files, name: str) -> None:
    async def main() -> None:
        async with everywhere(certificates) as broker:
            secure = certificates.context() if name == "stomps" else None
            reader, writer = await asyncio.open_connection(*broker.addresses[name], ssl=secure)
            writer.write(CONNECT)
            assert (await reader.readuntil(b"\0")).startswith(b"CONNECTED\nversion:1.2\n")
            row = connection_row(next(iter(broker.server.links.values())))
            assert (row["protocol"], row["transport"]) == ("STOMP 1.2", "tls" if secure else "tcp")
            writer.write(b"SEND\ndestination:/queue/a\nreceipt:1\n\nhello\0")
            assert (await reader.readuntil(b"\0")).lstrip().startswith(b"RECEIPT\nreceipt-id:1\n")
            assert [each.body for each in broker.messages("a")] == [b"hello"]
            writer.write(b"NONSENSE\n\n\0")
            assert b"ERROR" in await reader.read()
            writer.close()

    run(main)


@pytest.mark.parametrize("name", ["web_stomp", "web_stomps"])
def test_stomp_over_websocket(certificates: Files, name: str) -> None:
    pytest.importorskip("websockets")
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed
    from websockets.typing import Subprotocol

    async def main() -> None:
        async with everywhere(certificates) as broker:
            secure = certificates.context() if name == "web_stomps" else None
            host, port = broker.addresses[name]
            url = f"{'wss' if secure else 'ws'}://{host}:{port}/ws"
            async with connect(url, ssl=secure, proxy=None, subprotocols=[Subprotocol("v12.stomp")]) as ws:
                await ws.send(CONNECT.decode())
                assert str(await ws.recv()).startswith("CONNECTED\nversion:1.2\n")
                row = connection_row(next(iter(broker.server.links.values())))
                assert row["transport"] == ("websocket over tls" if secure else "websocket")
                await ws.send("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
                for text in ("grüße", "zwei"):
                    await ws.send(f"SEND\ndestination:/queue/a\n\n{text}\0")
                await ws.send(b"SEND\ndestination:/queue/a\ncontent-length:2\n\n\0\xff\0")
                found = [await ws.recv() for _ in range(3)]
                assert [type(each) for each in found] == [
                    bytes,
                    bytes,
                    bytes,
                ]  # as the last that the client sent
                bodies = [bytes(each).partition(b"\n\n")[2].removesuffix(b"\0\n") for each in found]  # type: ignore[arg-type]
                assert bodies == ["grüße".encode(), b"zwei", b"\0\xff"]
                await ws.send("DISCONNECT\nreceipt:bye\n\n\0")
                assert str(await ws.recv()).startswith("RECEIPT\nreceipt-id:bye\n")
            assert ws.close_code == 1000
            async with connect(url, ssl=secure, proxy=None) as ws:
                await ws.send("NONSENSE\n\n\0")
                assert str(await ws.recv()).startswith("ERROR\n")
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
                assert ws.close_code == 1000

    run(main)


def test_amqp_over_tls(certificates: Files) -> None:
    async def main() -> None:
        async with everywhere(certificates) as broker:
            host, port = broker.addresses["amqps"]
            url = f"amqps://guest:guest@{host}:{port}/%2F?cacertfile={certificates.ca}"
            async with leveret.connect(url) as client:
                await client.declare_queue(leveret.Queue("q"))
                body = bytes(range(256)) * 4_000
                await client.publish("q", body)
                message = await client.get("q", timeout_s=LIMIT_S)
                assert message is not None
                assert message.body == body
                await message.ack()
                (link,) = broker.server.links.values()
                row = connection_row(link)
                assert (row["protocol"], row["transport"]) == ("AMQP 0-9-1", "tls")

    run(main)


def test_destinations_of_each_listener(certificates: Files) -> None:
    async def main() -> None:
        async with Broker(listen_stomp=ANY, stomp_destinations="activemq") as broker:
            reader, writer = await asyncio.open_connection(*broker.stomp_address)
            writer.write(CONNECT)
            await reader.readuntil(b"\0")
            writer.write(b"SUBSCRIBE\nid:s\ndestination:/topic/a.>\n\n\0")
            writer.write(b"SEND\ndestination:/topic/a.b.c\n\nhello\0")
            assert b"\ndestination:/topic/a.b.c\n" in await reader.readuntil(b"hello\0")
            writer.close()

    run(main)


# ---- the process


class Served:
    """`leveret serve` with these options, until the context ends. `ready`: the fields of that line."""

    def __init__(self, *options: str) -> None:
        self.command = [sys.executable, "-m", "leveret", "serve", "--log-format", "json", *options]

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, str]]:
        process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            for line in process.stderr:
                entry = json.loads(line)
                if entry["event"] == "ready":
                    yield entry["addresses"]
                    break
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.stderr.close()
            assert process.wait(LIMIT_S) == 0

    def fails(self) -> tuple[int, str]:
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, done.stderr


def asked(data: Path, command: str) -> Any:
    words = [sys.executable, "-m", "leveret", command, "--json", "--data", str(data)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_the_ready_line_and_the_status_have_every_address(certificates: Files, tmp_path: Path) -> None:
    options = [
        "--data",
        str(tmp_path),
        "--amqp-port",
        "0",
        "--tls-certificate",
        str(certificates.certificate),
    ]
    with Served(*options, "--tls-key", str(certificates.key)).running() as addresses:
        assert list(addresses) == ["amqp", "amqps", "stomp", "stomps", "web_stomp", "web_stomps"]
        assert len(set(addresses.values())) == 6
        status = asked(tmp_path, "status")
        assert {name: status[name] for name in addresses} == addresses
        host, _, port = addresses["stomp"].rpartition(":")
        with socket.create_connection((host, int(port)), LIMIT_S) as sock:
            sock.sendall(CONNECT)
            assert sock.recv(4_096).startswith(b"CONNECTED")
            (row,) = asked(tmp_path, "connections")
            assert (row["protocol"], row["transport"], row["user"]) == ("STOMP 1.2", "tcp", "guest")


def test_a_taken_port_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--data", str(tmp_path), "--amqp-port", "0", "--stomp-port", port]
        code, text = Served(*options).fails()
    assert code == 1
    last = text.splitlines()[-1]
    assert f"127.0.0.1:{port}" in last
    assert "--stomp-port" in last
    assert "Traceback" not in text
    with Served("--data", str(tmp_path), "--amqp-port", "0", "--stomp-port", "off").running() as addresses:
        assert "stomp" not in addresses


def test_files_that_are_not_there_end_it_before_it_touches_anything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code, text = Served("--data", str(data), "--tls-certificate", "/nowhere/c.pem").fails()
    assert (code, data.exists()) == (3, False)
    assert "tls_certificate: cannot read /nowhere/c.pem" in text
