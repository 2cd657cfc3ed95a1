"""WebSocket between a socket and a conversation of STOMP: who gets in, how messages are cut, and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

pytest.importorskip("websockets")

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from leveret.limits import WEB_BEFORE_LOGIN_BYTES, WEB_MESSAGE_EXTRA_BYTES, WEB_REQUEST_BYTES
from leveret.server import tls
from leveret.server.layers import Layer
from leveret.server.web import WebSocketLayer, allowed_origin, frames_of

from .certificates import Files
from .place import Place, run
from .place import place as echoing

BODY_BYTES = 1_000
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


# ---- what is sent


@pytest.mark.parametrize(
    "pieces",
    [
        [b"RECEIPT\nreceipt-id:1\n\n\0"],
        [b"\n"],
        [b"\n\n\n", b"ERROR\n\n\0"],
        [b"MESSAGE\ncontent-length:3\n\na\0b\0", b"MESSAGE\na:b\ncontent-length:0\n\n\0\n", b"\xff\n\n\0"],
        [b"MESSAGE\nx:content-length:9\n\nab\0", b"RECEIPT\na:b\n\n\0"],
        [b"MESSAGE\n\nno end"],
        [b"RECEIPT\na:b\n\n\0", b"no blank line"],
    ],
)
def test_what_is_said_is_cut_behind_frames(pieces: list[bytes]) -> None:
    assert list(frames_of(b"".join(pieces))) == pieces


# ---- who gets in


@pytest.mark.parametrize(
    ("origin", "listed", "allowed"),
    [
        (None, [], True),
        ("http://localhost:8000", [], True),
        ("https://LOCALHOST", [], True),
        ("http://127.0.0.1", [], True),
        ("http://[::1]:80", [], True),
        ("http://localhost.example.com", [], False),
        ("http://127.0.0.1.example.com", [], False),
        ("http://example.com", [], False),
        ("null", [], False),
        ("null", ["null"], True),
        ("https://Example.com", ["https://example.com"], True),
        ("https://example.com:8443", ["https://example.com"], False),
        ("http://anything", ["*"], True),
    ],
)
def test_origins(origin: str | None, listed: list[str], allowed: bool) -> None:
    assert allowed_origin(origin, listed) is allowed


def request(path: str = "/ws", method: str = "GET", **changed: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    headers.update({name.replace("_", "-"): value for name, value in changed.items()})
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


def answer(layer: Layer, data: bytes) -> bytes:
    assert layer.received(data) == b""
    found = b"".join(layer.out)
    layer.out.clear()
    return found


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        (request("/"), "404 Not Found", "STOMP over WebSocket is at /ws"),
        (request("/ws/other"), "404 Not Found", "/ws"),
        (request(Upgrade=None, Connection=None), "426 Upgrade Required", "WebSocket"),
        (request(Sec_WebSocket_Version="8"), "400 Bad Request", "Sec-WebSocket-Version"),
        (request(Sec_WebSocket_Key="x"), "400 Bad Request", "Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Protocol="mqtt, amqp"), "400 Bad Request", "v12.stomp, v11.stomp, v10.stomp"),
        (request(Origin="https://example.com"), "403 Forbidden", "web_stomp_origins"),
        (b"POST /ws HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "4", ""),
        (b"CONNECT\naccept-version:1.2\n\n\0", "400 Bad Request", "no HTTP request"),
        (b"AMQP\x00\x00\x09\x01\n", "400 Bad Request", "no HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400 Bad Request", "no HTTP request"),
        (b"GET /ws HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request", "cannot be understood"),
        (b"GET /ws HTTP/1.1\r\nx: " + b"y" * WEB_REQUEST_BYTES, "431 ", "too large"),
    ],
)
def test_who_does_not_get_in_is_told_why(said: bytes, status: str, words: str) -> None:
    layer = WebSocketLayer((), BODY_BYTES)
    found = answer(layer, said).decode()
    assert found.startswith(f"HTTP/1.1 {status}")
    assert words in found.partition("\r\n\r\n")[2]
    assert "Connection: close\r\n" in found
    assert layer.ended
    assert layer.reason.startswith(f"HTTP: {status.strip()}")
    assert layer.received(b"more") == b""
    assert layer.out == []


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("v10.stomp", "v10.stomp"),
        ("v10.stomp, v11.stomp", "v11.stomp"),
        ("v11.stomp, v12.stomp, v10.stomp", "v12.stomp"),
        ("mqtt, v10.stomp", "v10.stomp"),
        (None, None),
    ],
)
def test_the_newest_subprotocol_is_chosen(offered: str | None, chosen: str | None) -> None:
    layer = WebSocketLayer((), BODY_BYTES)
    found = answer(layer, request("/ws?x=1", Sec_WebSocket_Protocol=offered)).decode()
    assert found.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in found
    assert (
        f"Sec-WebSocket-Protocol: {chosen}\r\n" if chosen else "Sec-WebSocket-Protocol"
    ) in found or not chosen
    assert ("Sec-WebSocket-Protocol" in found) == (chosen is not None)
    assert "Extensions" not in found
    assert not layer.ended


# ---- a client in memory


class Client:
    """The library's own client at the other end of a layer. `heard`: what the conversation got."""

    def __init__(self, layer: WebSocketLayer | None = None, trusted: bool = True) -> None:
        self.layer = WebSocketLayer((), BODY_BYTES) if layer is None else layer
        self.layer.trusted = trusted
        self.ws = ClientProtocol(parse_uri("ws://localhost/ws"), max_size=None)
        self.ws.send_request(self.ws.connect())
        self.heard: list[bytes] = []
        self.turn()
        assert self.ws.handshake_exc is None

    def turn(self) -> None:
        self.says(*self.ws.data_to_send())

    def says(self, *chunks: bytes) -> None:
        for chunk in chunks:
            data = self.layer.received(chunk)
            if data:
                self.heard.append(data)
        self.flush()

    def flush(self) -> None:
        out = self.layer.out[:]
        self.layer.out.clear()
        for data in out:
            self.ws.receive_data(data)

    def takes(self) -> list[tuple[Opcode, bytes]]:
        self.flush()
        return [
            (event.opcode, bytes(event.data))
            for event in self.ws.events_received()
            if isinstance(event, Frame)
        ]

    @property
    def told(self) -> tuple[int, str]:
        """The close frame that came."""
        self.flush()
        assert self.ws.close_rcvd is not None
        return int(self.ws.close_rcvd.code), self.ws.close_rcvd.reason


@pytest.fixture
def client() -> Client:
    return Client()


def test_messages_come_up_as_a_stream(client: Client) -> None:
    client.ws.send_text(b"CONNECT\n\n\0")
    client.ws.send_binary(b"SEND\n")
    client.ws.send_binary(b"\nx\xff\0")
    client.says(b"".join(client.ws.data_to_send()))
    assert client.heard == [b"CONNECT\n\n\0SEND\n\nx\xff\0"]


def test_what_comes_byte_by_byte(client: Client) -> None:
    client.ws.send_text("grüße".encode())
    client.ws.send_ping(b"?")
    client.says(*(bytes([byte]) for data in client.ws.data_to_send() for byte in data))
    assert client.heard == ["grüße".encode()]
    assert (Opcode.PONG, b"?") in client.takes()


def test_a_request_byte_by_byte_with_a_frame_on_its_heels() -> None:
    layer = WebSocketLayer((), BODY_BYTES)
    frame = Frame(Opcode.TEXT, b"CONNECT\n\n\0").serialize(mask=True)
    said = request()
    for byte in said[:-1]:
        assert layer.received(bytes([byte])) == b""
    assert layer.out == []
    assert layer.received(said[-1:] + frame) == b"CONNECT\n\n\0"
    assert layer.out[0].startswith(b"HTTP/1.1 101")


def test_fragments_with_a_ping_among_them(client: Client) -> None:
    """Each goes up as it comes; a character may be in two of them."""
    data = "SEND\n\nü\0".encode()
    client.ws.send_text(data[:7], fin=False)
    client.ws.send_ping(b"now")
    client.turn()
    assert client.heard == [data[:7]]
    assert (Opcode.PONG, b"now") in client.takes()
    client.ws.send_continuation(data[7:8], fin=False)
    client.ws.send_continuation(data[8:], fin=True)
    client.turn()
    assert b"".join(client.heard) == data
    assert not client.layer.ended


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_the_answer_is_of_the_clients_kind(client: Client, kind: str) -> None:
    getattr(client.ws, f"send_{kind}")(b"x")
    client.turn()
    client.layer.wrap([b"MESSAGE\n\ngr\xc3\xbc", b"n\0", b"RECEIPT\n\n\0"])
    expected = Opcode.TEXT if kind == "text" else Opcode.BINARY
    assert client.takes() == [(expected, b"MESSAGE\n\ngr\xc3\xbcn\0"), (expected, b"RECEIPT\n\n\0")]


def test_what_is_no_text_is_sent_as_binary_to_any_client(client: Client) -> None:
    client.ws.send_text(b"x")
    client.turn()
    client.layer.wrap([b"MESSAGE\ncontent-length:2\n\n\xff\0\0\n", b"RECEIPT\n\n\0"])
    found = client.takes()
    assert [kind for kind, _ in found] == [Opcode.BINARY, Opcode.TEXT]
    assert found[0][1] == b"MESSAGE\ncontent-length:2\n\n\xff\0\0\n"


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A message of a client in frames, and what it says."""
    kind = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    text = st.text("a\nä€😀\0", max_size=40).map(str.encode)
    data = draw(text if kind is Opcode.TEXT else st.binary(max_size=300))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    parts = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
    said = b""
    for i, part in enumerate(parts):
        if draw(st.booleans()):
            said += masked(draw(st.sampled_from([Opcode.PING, Opcode.PONG])), b"?")
        said += masked(kind if i == 0 else Opcode.CONT, part, fin=i == len(parts) - 1)
    return said, data


@settings(deadline=None)
@given(st.lists(messages(), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_wherever_it_is_cut_it_says_the_same(sent: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    client = Client()
    stream = b"".join(said for said, _ in sent)
    steps = itertools.cycle(sizes)
    while stream:
        size = next(steps)
        client.says(stream[:size])
        stream = stream[size:]
    assert b"".join(client.heard) == b"".join(data for _, data in sent)
    assert not client.layer.ended
    assert all(kind is Opcode.PONG for kind, _ in client.takes())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_answered_or_waited_for(data: bytes) -> None:
    """Before and after the handshake nothing is raised, and an end has its reason."""
    for layer in (WebSocketLayer((), BODY_BYTES), Client().layer):
        for byte in data:
            layer.received(bytes([byte]))
        assert bool(layer.reason) <= layer.ended


# ---- ends


def masked(kind: Opcode, data: bytes, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(kind, data, fin).serialize(mask=mask)


LARGE = BODY_BYTES + WEB_MESSAGE_EXTRA_BYTES


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ([masked(Opcode.BINARY, bytes(LARGE + 1))], CloseCode.MESSAGE_TOO_BIG, "too large"),
        (
            [masked(Opcode.BINARY, bytes(LARGE), False), masked(Opcode.CONT, b"x")],
            CloseCode.MESSAGE_TOO_BIG,
            "too large",
        ),
        ([masked(Opcode.TEXT, b"\xff")], CloseCode.INVALID_DATA, "not UTF-8"),
        ([masked(Opcode.TEXT, b"\xc3")], CloseCode.INVALID_DATA, "not UTF-8"),
        (
            [masked(Opcode.TEXT, b"\xc3", False), masked(Opcode.CONT, b"x")],
            CloseCode.INVALID_DATA,
            "not UTF-8",
        ),
        ([masked(Opcode.TEXT, b"x", mask=False)], CloseCode.PROTOCOL_ERROR, "mask"),
        ([masked(Opcode.CONT, b"x")], CloseCode.PROTOCOL_ERROR, "continuation"),
        (
            [masked(Opcode.TEXT, b"x", False), masked(Opcode.TEXT, b"x")],
            CloseCode.PROTOCOL_ERROR,
            "continuation",
        ),
        ([b"\x83\x80abcd"], CloseCode.PROTOCOL_ERROR, "opcode"),
        ([b"\xc1\x80abcd"], CloseCode.PROTOCOL_ERROR, "reserved"),
    ],
)
def test_what_no_client_may_send_ends_it(
    client: Client, said: list[bytes], code: CloseCode, reason: str
) -> None:
    client.says(*said)
    assert client.told[0] == code
    assert client.layer.ended
    assert client.layer.reason.startswith("WebSocket: ")
    assert reason in client.layer.reason
    assert client.layer.received(masked(Opcode.TEXT, b"x")) == b""


def test_a_message_of_the_largest_size(client: Client) -> None:
    client.ws.send_binary(bytes(LARGE))
    client.turn()
    assert client.heard == [bytes(LARGE)]


def test_who_has_not_logged_in_is_not_waited_for_with_much() -> None:
    client = Client(WebSocketLayer((), 10_000_000), trusted=False)
    frame = masked(Opcode.BINARY, bytes(5_000_000))
    client.says(frame[:WEB_BEFORE_LOGIN_BYTES])
    assert not client.layer.ended
    client.says(frame[WEB_BEFORE_LOGIN_BYTES : WEB_BEFORE_LOGIN_BYTES + 1])
    assert client.told == (1009, "too large a message from a client that has not logged in")


def test_what_came_before_an_error_is_heard(client: Client) -> None:
    client.says(masked(Opcode.TEXT, b"SEND\n\n\0") + masked(Opcode.TEXT, b"\xff"))
    assert client.heard == [b"SEND\n\n\0"]


def test_a_client_that_closes(client: Client) -> None:
    client.ws.send_text(b"x")
    client.ws.send_close(1001, "going")
    client.turn()
    assert client.heard == [b"x"]
    assert client.told == (1001, "going")
    assert (client.layer.ended, client.layer.reason) == (True, "")
    client.layer.wrap([b"too late"])
    client.layer.farewell(False)
    assert client.layer.out == []


@pytest.mark.parametrize(
    ("leaving", "told"), [(False, (1000, "")), (True, (1001, "the broker is being stopped"))]
)
def test_farewells(client: Client, leaving: bool, told: tuple[int, str]) -> None:
    client.layer.wrap([b"ERROR\n\n\0"])
    client.layer.farewell(leaving)
    assert client.takes()[0] == (Opcode.TEXT, b"ERROR\n\n\0")
    assert client.told == told
    client.layer.wrap([b"too late"])
    assert client.layer.out == []
    client.turn()  # its close frame
    assert client.layer.ended


def test_nobody_logs_what_clients_say(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Client()
    client.ws.send_text(b"CONNECT\npasscode:hunter2\n\n\0")
    client.turn()
    ours = [record for record in caplog.records if record.name.startswith("leveret")]
    assert ours == []


# ---- through sockets


def place(files: Files | None = None, **settings: Any) -> AbstractAsyncContextManager[Place]:
    """Over WebSocket, or with files over that over TLS."""

    def layers() -> list[Layer]:
        web = WebSocketLayer(("https://example.com",), BODY_BYTES)
        return [web] if files is None else [tls.TlsLayer(files.offered()), web]

    return echoing(layers, **settings)


def dial(at: Place, **options: Any) -> connect:
    scheme = "wss" if "ssl" in options else "ws"
    url = f"{scheme}://{at.address[0]}:{at.address[1]}/ws"
    return connect(url, proxy=None, subprotocols=[Subprotocol("v12.stomp")], **options)


def test_a_conversation() -> None:
    async def main() -> None:
        async with place() as at, dial(at) as ws:
            assert ws.subprotocol == "v12.stomp"
            await ws.send("grüße")
            assert await ws.recv() == "grüße"
            await ws.send(b"\0\xff")
            assert await ws.recv() == b"\0\xff"
            await ws.send(["a", "b"])
            assert await ws.recv() in ("a", "ab")
            await (await ws.ping())
            assert at.links[0].transport_name == "websocket"
            assert not at.spoken[0].gone
            await ws.close()
            assert await at.until_ended() == "closed by the client without a close"
            assert at.spoken[0].gone

    run(main)


def test_over_tls(certificates: Files) -> None:
    async def main() -> None:
        async with place(certificates) as at, dial(at, ssl=certificates.context()) as ws:
            data = "x" * 100_000
            await ws.send(data)
            assert await ws.recv() == data
            assert at.links[0].transport_name == "websocket over tls"
            await ws.send("quit")
            assert await ws.recv() == "bye"
            with pytest.raises(ConnectionClosed) as caught:
                await ws.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1000
            assert await at.until_ended() == ""

    run(main)


def test_an_end_that_is_left_to_the_client() -> None:
    async def main() -> None:
        async with place() as at, dial(at) as ws:
            await ws.send("off")
            assert await ws.recv() == "bye"
            assert not at.ends
            await ws.close()
            assert ws.close_code == 1000
            assert await at.until_ended() == ""

    run(main)


def test_a_broker_that_stops() -> None:
    async def main() -> None:
        async with place() as at:
            ws = await dial(at)
            await ws.send("x")
            assert await ws.recv() == "x"
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (1001, "the broker is being stopped")

    run(main)


def test_a_page_of_somewhere_else() -> None:
    async def main() -> None:
        async with place() as at:
            with pytest.raises(InvalidStatus) as caught:
                await dial(at, origin=Origin("https://evil.example"))
            assert caught.value.response.status_code == 403
            assert await at.until_ended() == "HTTP: 403 Forbidden"
            async with dial(at, origin=Origin("https://example.com")) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"

    run(main)


def test_a_request_has_its_time() -> None:
    async def main() -> None:
        async with place(handshake_timeout_s=0.1) as at:
            reader, writer = await asyncio.open_connection(*at.address)
            writer.write(b"GET /ws HT")
            assert await reader.read() == b""
            assert at.ends == ["handshake_timeout"]
            writer.close()

    run(main)


def test_a_slow_reader_gets_all_in_order() -> None:
    async def main() -> None:
        async with place() as at, dial(at, max_size=None) as ws:
            await ws.send(b"x")
            await ws.recv()
            expected = []
            for number in range(300):
                expected.append(b"M\ncontent-length:50000\n\n" + bytes([number % 256]) * 50_000 + b"\0")
                at.spoken[0].says(expected[-1])
            assert [await ws.recv() for _ in expected] == expected
            assert at.links[0].peer.unsent == 0

    run(main)
