"""The scripted server itself: what it answers unasked, what it complains of, and the values its commands are made of."""

from __future__ import annotations

import asyncio

import pytest
from librt.strings import BytesWriter

from leveret.wire import requests
from leveret.wire.frames import HEARTBEAT, PROTOCOL_HEADER, FrameSplitter
from leveret.wire.methods import NAMES
from leveret.wire.properties import Properties
from leveret.wire.signatures import FIELDS, SIGNATURES, decode_method

from .fake_server import FakeServer, Peer, fake_server
from .speech import Assembler, Command, command_bytes, method_frame


def commands(data: bytes) -> list[Command]:
    assembler = Assembler()
    return [command for frame in FrameSplitter().feed(data) for command in assembler.feed(frame)]


def greeted() -> FakeServer:
    server = FakeServer()
    server.feed(PROTOCOL_HEADER)
    out = BytesWriter()
    requests.connection_start_ok(out, b"\0\0\0\0", "PLAIN", b"\0guest\0guest", "en_US")
    requests.connection_tune_ok(out, 2047, 131_072, 0)
    requests.connection_open(out, "/")
    requests.channel_open(out, 1)
    server.feed(out.getvalue())
    return server


@pytest.mark.parametrize("number", FIELDS, ids=lambda number: NAMES[number])
def test_every_method_comes_back_as_it_was_made(number: int) -> None:
    values: dict[int, object] = {
        1: 7,
        2: 300,
        3: 70_000,
        4: 2**40,
        5: "text",
        6: b"long",
        7: {"a": 1},
        8: True,
    }
    signature = SIGNATURES[number]
    fields = {name: values[kind] for name, kind in zip(signature.names, signature.kinds, strict=True)}
    [frame] = FrameSplitter().feed(method_frame(NAMES[number], 3, fields))
    found = decode_method(frame.payload)
    assert (frame.channel, found.name, found.fields) == (3, NAMES[number], fields)


def test_a_field_that_the_method_has_not_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"queue\.bind has no queu: it has ticket, queue"):
        method_frame("queue.bind", 1, {"queu": "a"})


def test_a_content_in_several_frames_is_one_command() -> None:
    sent = Command("basic.deliver", 2, {"delivery_tag": 5}, Properties(message_id="m"), b"x" * 100)
    [found] = commands(command_bytes(sent, frame_max_bytes=48))
    assert (found.properties, found.body, found["delivery_tag"]) == (sent.properties, sent.body, 5)


def test_the_handshake_is_answered() -> None:
    server = greeted()
    told = [command.name for command in commands(server.take())]
    assert told == ["connection.start", "connection.tune", "connection.open_ok", "channel.open_ok"]
    assert server.expect("connection.start_ok", mechanism="PLAIN")["response"] == b"\0guest\0guest"
    assert [command.name for command in server.unread()] == [
        "connection.tune_ok",
        "connection.open",
        "channel.open",
    ]


def test_a_first_thing_that_is_no_amqp_fails() -> None:
    with pytest.raises(AssertionError, match="began with b'GET / HT'"):
        FakeServer().feed(b"GET / HTTP/1.1")


def test_publishes_are_confirmed_once_that_was_asked_for() -> None:
    server = greeted()
    server.take()
    publish = command_bytes(Command("basic.publish", 1, {"routing_key": "q"}, Properties(), b"1"))
    server.feed(publish)
    assert server.take() == b""
    server.feed(method_frame("confirm.select", 1, {}) + publish + publish)
    select_ok, first, second = commands(server.take())
    assert (select_ok.name, first["delivery_tag"], second["delivery_tag"]) == ("confirm.select_ok", 1, 2)


def test_what_is_taken_from_its_answers_is_the_tests_to_answer() -> None:
    server = greeted()
    server.take()
    server.answers.pop("queue.declare")
    server.feed(method_frame("queue.declare", 1, {"queue": "q"}))
    assert server.take() == b""
    assert server.skip_to("queue.declare", queue="other") is None
    declare = server.skip_to("queue.declare", queue="q")
    assert declare is not None and declare.channel == 1


def test_another_command_than_expected_is_named() -> None:
    server = greeted()
    with pytest.raises(AssertionError, match=r"connection\.open .* was expected, not .*connection\.start_ok"):
        server.expect("connection.open")


def test_heartbeats_are_counted_and_not_in_the_way() -> None:
    server = greeted()
    server.feed(HEARTBEAT)
    assert server.heartbeats == 1
    assert server.received[-1].name == "channel.open"


def test_a_script_is_played_to_each_connection() -> None:
    async def first(peer: Peer) -> None:
        await peer.handshake()
        peer.abort()

    async def later(peer: Peer) -> None:
        await peer.handshake()
        peer.send("connection.close", 0, reply_code=320, reply_text="over")
        await peer.skip_to("connection.close_ok")
        peer.close()

    async def talk(port: int) -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PROTOCOL_HEADER + method_frame("connection.start_ok", 0, {}))
        writer.write(method_frame("connection.open", 0, {}) + method_frame("connection.close_ok", 0, {}))
        try:
            data = await reader.read()
        except ConnectionError:
            data = b""
        writer.close()
        return [command.name for command in commands(data)]

    async def run() -> None:
        async with fake_server(first, later) as listener:
            assert "connection.close" not in await talk(listener.port)
            assert (await talk(listener.port))[-1] == "connection.close"
            assert (await talk(listener.port))[-1] == "connection.close"
            assert [peer.number for peer in listener.peers] == [0, 1, 2]

    asyncio.run(run())


def test_what_fails_in_a_script_fails_the_test() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("queue.declare")

    async def run() -> None:
        async with fake_server(script) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(PROTOCOL_HEADER + method_frame("connection.start_ok", 0, {}))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1_000_000)
            writer.close()

    with pytest.raises(AssertionError, match=r"queue.declare {} was expected"):
        asyncio.run(run())
