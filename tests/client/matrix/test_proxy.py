"""The proxy itself, before anything is proven with it: each fault at each place, by hand, against the scripted server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from leveret.wire.frames import HEARTBEAT, PROTOCOL_HEADER, FrameSplitter
from leveret.wire.properties import Properties

from ...compat.broker import Address
from ..fake_server import Listener, Peer, fake_server
from ..speech import Assembler, Command, command_bytes, method_frame
from . import faults
from .link import Heard, Link
from .proxy import Point, Proxy

DEADLINE_S = 5.0
LOGIN = {"mechanism": "PLAIN", "response": b"\0someone\0token", "locale": "en_US"}


class Caller:
    """A client that says what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._splitter = FrameSplitter()
        self._assembler = Assembler()
        self._come: list[Command] = []

    def say(self, name: str, channel: int = 1, **fields: object) -> None:
        self.writer.write(method_frame(name, channel, fields))

    def publish(self, body: bytes) -> None:
        self.writer.write(
            command_bytes(Command("basic.publish", 1, {"routing_key": "q"}, Properties(), body))
        )

    async def hear(self) -> Command:
        """The next command, or one named 'fin' or 'reset'."""
        while not self._come:
            try:
                data = await asyncio.wait_for(self.reader.read(65_536), DEADLINE_S)
            except ConnectionResetError:
                return Command("reset", 0)
            if not data:
                return Command("fin", 0)
            for frame in self._splitter.feed(data):
                self._come += self._assembler.feed(frame)
        return self._come.pop(0)

    async def names(self, count: int) -> list[str]:
        return [(await self.hear()).name for _ in range(count)]

    async def greet(self) -> None:
        self.writer.write(PROTOCOL_HEADER)
        self.say("connection.start_ok", 0, **LOGIN)
        self.say("connection.open", 0)
        self.say("channel.open")
        assert await self.names(4) == [
            "connection.start",
            "connection.tune",
            "connection.open_ok",
            "channel.open_ok",
        ]


async def call(proxy: Proxy) -> Caller:
    return Caller(*await asyncio.open_connection(proxy.address.host, proxy.address.port))


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Proxy, Caller, Listener]]:
    """A caller that is let in, through a proxy, by a server that answers by itself."""
    async with fake_server() as listener, Proxy(Address("127.0.0.1", listener.port)) as proxy:
        caller = await call(proxy)
        await caller.greet()
        try:
            yield proxy, caller, listener
        finally:
            caller.writer.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def names_at(listener: Listener) -> list[str]:
    return [command.name for command in listener.peers[0].server.received[3:]]


async def left(listener: Listener) -> Peer:
    peer = listener.peers[0]
    await peer.until_gone()
    return peer


def test_both_ways_are_passed_on() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            caller.say("confirm.select")
            caller.publish(b"x" * 300_000)
            caller.writer.write(HEARTBEAT)
            assert await caller.names(2) == ["confirm.select_ok", "basic.ack"]
            assert listener.peers[0].server.received[-1].body == b"x" * 300_000
            assert proxy.log[0] == "0 client: greeting (0)"
            assert "0 server: basic.ack (1)" in proxy.log

    run(test)


@pytest.mark.parametrize(("fault", "end"), [(faults.fin, "fin"), (faults.reset, "reset")])
@pytest.mark.parametrize(("when", "arrives"), [("before", []), ("middle", []), ("after", ["queue.declare"])])
def test_the_line_ends_at_a_frame_of_the_client(
    fault: faults.Fault, end: str, when: Any, arrives: list[str]
) -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            strike = proxy.at(Point("client", "queue.declare", when), fault)
            caller.say("queue.declare", queue="q")
            assert (await caller.hear()).name == end
            await strike.happened()
            await left(listener)
            assert names_at(listener) == arrives

    run(test)


@pytest.mark.parametrize(("when", "heard"), [("before", []), ("middle", []), ("after", ["queue.declare_ok"])])
def test_the_line_ends_at_a_frame_of_the_server(when: Any, heard: list[str]) -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            proxy.at(Point("server", "queue.declare_ok", when), faults.fin)
            caller.say("queue.declare", queue="q")
            assert await caller.names(len(heard) + 1) == [*heard, "fin"]
            await left(listener)

    run(test)


def test_the_nth_frame_that_fits_is_the_one() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, _):
            proxy.at(Point("server", "queue.declare_ok", "after", 2, (("queue", "b"),)), faults.fin)
            for name in "abab":
                caller.say("queue.declare", queue=name)
            assert await caller.names(5) == [*["queue.declare_ok"] * 4, "fin"]

    run(test)


def test_a_content_is_cut_in_its_middle() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            proxy.at(Point("client", "body", "middle"), faults.reset)
            caller.publish(b"x" * 1000)
            assert (await caller.hear()).name == "reset"
            await left(listener)
            assert names_at(listener) == []

    run(test)


def test_a_silent_line_stays_open_and_tells_nothing() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            strike = proxy.at(Point("client", "queue.declare", "before"), faults.silence)
            caller.say("queue.declare", queue="q")
            link = await strike.happened()
            listener.peers[0].send("basic.cancel", consumer_tag="c")
            caller.writer.close()
            await asyncio.wait_for(link.gone.wait(), DEADLINE_S)
            await left(listener)
            assert names_at(listener) == []
            assert await caller.reader.read() == b""

    run(test)


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_what_is_held_comes_later_and_in_order(when: Any) -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            strike = proxy.at(Point("client", "queue.declare", when), faults.hold)
            caller.say("queue.declare", queue="q")
            caller.say("queue.bind", queue="q")
            link = await strike.happened()
            assert "queue.bind" not in names_at(listener)
            link.release()
            assert await caller.names(2) == ["queue.declare_ok", "queue.bind_ok"]
            assert names_at(listener) == ["queue.declare", "queue.bind"]

    run(test)


def test_what_was_held_may_meet_another_fault() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            strike = proxy.at(Point("client", "queue.declare", "before"), faults.hold)
            proxy.at(Point("client", "queue.bind", "before"), faults.fin)
            caller.say("queue.declare", queue="q")
            caller.say("queue.bind", queue="q")
            (await strike.happened()).release()
            await left(listener)
            assert names_at(listener) == ["queue.declare"]

    run(test)


def test_the_connection_is_closed_in_order() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            proxy.at(Point("client", "queue.declare", "before"), faults.connection_close(320, "over"))
            caller.say("queue.declare", queue="q")
            close = await caller.hear()
            assert (close.name, close["reply_code"], close["reply_text"]) == ("connection.close", 320, "over")
            await left(listener)
            caller.say("queue.bind")
            caller.say("connection.close_ok", 0)
            assert (await caller.hear()).name == "fin"
            assert names_at(listener) == []

    run(test)


def test_a_channel_is_closed_on_both_sides_and_can_be_opened_again() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            proxy.at(Point("client", "queue.declare", "before"), faults.channel_close(404, "no such thing"))
            caller.say("queue.declare", queue="q")
            close = await caller.hear()
            assert (close.name, close["reply_code"]) == ("channel.close", 404)
            caller.say("queue.bind")
            caller.say("channel.close_ok")
            caller.say("channel.open")
            caller.say("queue.declare", queue="r")
            assert await caller.names(2) == ["channel.open_ok", "queue.declare_ok"]
            assert names_at(listener) == ["channel.close", "channel.open", "queue.declare"]

    run(test)


def test_a_consumer_is_cancelled_on_both_sides() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            proxy.at(Point("server", "basic.consume_ok", "after"), faults.cancel)
            caller.say("basic.consume", queue="q", consumer_tag="c")
            assert (await caller.hear()).name == "basic.consume_ok"
            cancel = await caller.hear()
            assert (cancel.name, cancel["consumer_tag"], cancel["no_wait"]) == ("basic.cancel", "c", True)
            assert names_at(listener) == ["basic.consume", "basic.cancel"]

    run(test)


def test_a_confirm_is_made_a_refusal() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, _):
            proxy.at(Point("server", "basic.ack", "before", 2), faults.nack)
            caller.say("confirm.select")
            for _ in range(3):
                caller.publish(b"1")
            await caller.hear()
            assert await caller.names(3) == ["basic.ack", "basic.nack", "basic.ack"]

    run(test)


def test_a_blocked_connection_is_read_when_it_is_unblocked() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, listener):
            caller.say("confirm.select")
            await caller.hear()
            strike = proxy.at(Point("client", "basic.publish", "before"), faults.block)
            caller.publish(b"1")
            assert (await caller.hear()).name == "connection.blocked"
            listener.peers[0].send("heartbeat", 0)
            assert (await caller.hear()).name == "heartbeat"
            assert names_at(listener) == ["confirm.select"]
            faults.unblock(await strike.happened())
            assert await caller.names(2) == ["connection.unblocked", "basic.ack"]

    run(test)


def test_a_port_that_refuses_admits_again() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, _):
            proxy.at(Point("client", "queue.declare", "after"), proxy.cut_and_refuse())
            caller.say("queue.declare", queue="q")
            assert (await caller.hear()).name == "reset"
            with pytest.raises(ConnectionRefusedError):
                await call(proxy)
            assert proxy.open_links() == []
            await proxy.admit()
            again = await call(proxy)
            await again.greet()
            assert [link.number for link in proxy.open_links()] == [1]
            again.writer.close()

    run(test)


def test_only_known_passwords_are_let_in() -> None:
    async def test() -> None:
        async with between() as (proxy, _, listener):
            proxy.passwords = {"token"}
            taken = await call(proxy)
            await taken.greet()
            start_ok = listener.peers[1].server.received[0]
            assert (start_ok["response"], start_ok["locale"]) == (b"\0guest\0guest", "en_US")
            taken.writer.close()
            proxy.passwords = {"another"}
            refused = await call(proxy)
            refused.writer.write(PROTOCOL_HEADER)
            assert (await refused.hear()).name == "connection.start"
            refused.say("connection.start_ok", 0, **LOGIN)
            close = await refused.hear()
            assert (close.name, close["reply_code"]) == ("connection.close", 403)
            refused.writer.close()

    run(test)


def test_a_broker_that_is_not_there_resets_who_comes() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, _):
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                proxy.target = Address(*closed.getsockname())
                gone = await call(proxy)
                assert (await gone.hear()).name == "reset"
            caller.say("queue.declare")
            assert (await caller.hear()).name == "queue.declare_ok"

    run(test)


def test_all_connections_are_struck_at_once() -> None:
    async def test() -> None:
        async with between() as (proxy, caller, _):
            other = await call(proxy)
            await other.greet()
            struck: list[int] = []

            def fault(link: Link, frame: Heard) -> None:
                struck.append(link.number)
                link.fin()

            proxy.strike_all(fault)
            assert struck == [0, 1]
            assert ((await caller.hear()).name, (await other.hear()).name) == ("fin", "fin")
            other.writer.close()

    run(test)


def test_a_fault_that_does_not_come_is_named() -> None:
    async def test() -> None:
        async with between() as (proxy, _, _):
            strike = proxy.at(Point("client", "queue.declare", "middle", 2), faults.fin)
            with pytest.raises(AssertionError, match=r"middle-client-queue\.declare-2 did not come"):
                await strike.happened(0.01)

    run(test)
