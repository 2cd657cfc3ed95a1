"""The connection without a socket: order, flow control both ways, and how it ends, as asyncio has it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from leveret import limits
from leveret.embed import Broker
from leveret.server.link import OUTPUT_LIMIT_BYTES
from leveret.server.memory import MemoryLink, MemoryTransport
from leveret.wire import methods, requests

from ..protocol.talker import opening, publish, request
from .dialled import Dialled, dial, opened, run

BODY = b"x" * 10_000


def link_of(client: Dialled) -> MemoryLink:
    transport = client.transport
    assert isinstance(transport, MemoryTransport)
    return transport._link


def test_what_is_large_arrives_whole_and_in_order() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            bodies = [os.urandom(5_000_000), b"", b"small", os.urandom(300_000)]
            for body in bodies:
                client.transport.write(publish(1, "q", body))
            assert await client.bodies("q") == bodies

    run(main())


def test_whatever_holds_bytes_may_be_written_and_changed_afterwards() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            data = bytearray(publish(1, "q", b"first"))
            client.transport.write(data)
            data[:] = bytes(len(data))
            client.transport.writelines(
                [memoryview(publish(1, "q", b"second")), b"", publish(1, "q", b"third")]
            )
            assert await client.bodies("q") == [b"first", b"second", b"third"]

    run(main())


def test_nothing_is_called_from_within_a_call() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = dial(broker)
            assert client.calls == []
            client.transport.write(opening())
            assert client.waiting == []
            await client.hears("connection.start", "connection.tune", "connection.open_ok")
            assert client.calls == ["connection_made"]

    run(main())


def test_a_reader_that_is_slow_is_given_no_more() -> None:
    """What it has not taken stays in the queue."""

    async def main() -> None:
        async with Broker() as broker:
            producer, slow = await opened(broker), await opened(broker)
            await producer.declares("q")
            await slow.asks(requests.basic_consume, 1, "q", "c", no_ack=True)
            slow.transport.pause_reading()
            for _ in range(2_000):  # 20 MB
                producer.transport.write(publish(1, "q", BODY))
                await asyncio.sleep(0)
            await producer.declares("q")
            link = link_of(slow)
            assert sum(map(len, link.backlog)) == link.peer.unsent < 3 * limits.OUTPUT_HIGH_BYTES
            assert len(broker.messages("q")) > 1_500
            before = slow.received_bytes
            assert not slow.transport.is_reading()
            slow.transport.resume_reading()
            for _ in range(2_000):
                assert (await slow.hears("basic.deliver")).body == BODY
            assert slow.received_bytes - before > 20_000_000
            assert link.peer.unsent == 0

    run(main())


def test_who_reads_nothing_is_not_read_from() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            client.transport.write(publish(1, "q", b"x" * 1_000_000))
            await client.declares("q")
            client.transport.pause_reading()
            link = link_of(client)
            for _ in range(20):  # 20 MB of answers
                client.transport.write(
                    request(requests.basic_get, 1, "q") + request(requests.basic_recover, 1, True)
                )
                for _ in range(20):
                    await asyncio.sleep(0)
            assert not link.reading
            assert link.peer.unsent < OUTPUT_LIMIT_BYTES + 2_000_000
            assert link.inbox_bytes > 0
            client.transport.resume_reading()
            for _ in range(20):
                await client.hears("basic.get_ok", "basic.recover_ok")

    run(main())


def test_a_writer_is_told_to_pause_and_to_go_on() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            transport = client.transport
            assert transport.get_write_buffer_limits() == (16_384, 65_536)
            transport.write(publish(1, "q", b"x" * 60_000))
            assert "pause_writing" not in client.calls
            transport.write(publish(1, "q", b"x" * 60_000))
            assert client.calls[-1] == "pause_writing"
            assert transport.get_write_buffer_size() > 120_000
            await client.declares("q")
            assert client.calls[-1] == "resume_writing"
            assert client.calls.count("pause_writing") == 1
            assert transport.get_write_buffer_size() == 0

    run(main())


def test_the_limits_of_writing_can_be_set() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            client.transport.set_write_buffer_limits(high=0)
            client.transport.write(request(requests.queue_declare, 1, "q"))
            assert client.calls[-1] == "pause_writing"
            await client.hears("queue.declare_ok")
            assert client.calls[-1] == "resume_writing"
            client.transport.set_write_buffer_limits(low=10)
            assert client.transport.get_write_buffer_limits() == (10, 40)
            with pytest.raises(ValueError, match="must be >="):
                client.transport.set_write_buffer_limits(high=1, low=2)

    run(main())


def test_publishers_that_are_blocked_fill_no_memory() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            await client.publishes("q", b"first")
            broker.server.block("low on memory")
            await client.hears("connection.blocked")
            client.transport.write(publish(1, "q", BODY) * 10)
            for _ in range(20):
                await asyncio.sleep(0)
            assert client.calls[-1] == "pause_writing"
            assert len(broker.messages("q")) == 1
            broker.server.unblock()
            await client.hears("connection.unblocked")
            client.transport.write(request(requests.queue_declare, 1, "q"))
            while (await client.next()).name != "queue.declare_ok":
                pass  # confirms
            assert client.calls[-1] == "resume_writing"
            assert len(broker.messages("q")) == 11

    run(main())


def test_closing_writes_what_was_written_before() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client, other = await opened(broker), await opened(broker)
            await other.declares("q")
            client.transport.write(publish(1, "q", b"x" * 1_000_000))
            client.transport.close()
            assert client.transport.is_closing()
            client.transport.write(publish(1, "q", b"too late"))
            assert await client.lost is None
            while len(broker.server.links) > 1:
                await asyncio.sleep(0)
            assert [len(body) for body in await other.bodies("q")] == [1_000_000]
            assert client.calls[-1] == "connection_lost"
            client.transport.close()  # again

    run(main())


def test_aborting_drops_it() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client, other = await opened(broker), await opened(broker)
            await other.declares("q")
            client.transport.write(publish(1, "q", b"one"))
            client.transport.abort()
            assert await client.lost is None
            assert len(broker.server.links) == 1
            assert await other.bodies("q") == []

    run(main())


def test_a_polite_end_is_left_to_the_client() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            heard = await client.asks(methods.connection_close, 200, "bye", 0, 0)
            assert heard.name == "connection.close_ok"
            for _ in range(20):
                await asyncio.sleep(0)
            assert not client.lost.done()
            client.transport.close()
            assert await client.lost is None
            assert client.calls == ["connection_made", "connection_lost"]
            while broker.server.links:
                await asyncio.sleep(0)

    run(main())


def test_an_end_that_the_broker_wants() -> None:
    """A wrong frame: its last words arrive, then the end of the stream."""

    async def main() -> None:
        async with Broker() as broker:
            client = dial(broker)
            client.transport.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.lost is None
            assert client.calls == ["connection_made", "eof_received", "connection_lost"]
            assert client.received_bytes == 8  # the version that it speaks
            assert not broker.server.links

    run(main())


class Buffered(asyncio.BufferedProtocol):
    """Takes a few bytes at a time, and may want to pause in between."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.buffer = bytearray(7)
        self.got = b""
        self.pauses_at = -1
        self.came = asyncio.Event()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]
        if len(self.got) >= self.pauses_at >= 0:
            self.pauses_at = -1
            self.transport.pause_reading()
        self.came.set()


def test_a_protocol_with_a_buffer_of_its_own() -> None:
    async def main() -> None:
        async with Broker() as broker:
            plain = dial(broker)
            plain.transport.write(opening())
            await plain.hears("connection.start", "connection.tune", "connection.open_ok")
            client = Buffered()
            client.transport = broker.dial(lambda: client)
            client.pauses_at = 20
            client.transport.write(opening())
            while client.transport.is_reading():
                client.came.clear()
                await client.came.wait()
            assert len(client.got) == 21
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(client.got) == 21
            client.transport.resume_reading()
            while len(client.got) < plain.received_bytes:
                client.came.clear()
                await client.came.wait()
            assert client.got.endswith(b"\x00\x0a\x00\x29\x00\xce")  # connection.open-ok
            await broker.stop(0)

    run(main())


class Failing(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        raise ValueError("a fault of its own")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


def test_a_protocol_that_fails_loses_its_connection_and_no_other() -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with Broker() as broker:
            client = Failing()
            broker.dial(lambda: client).write(opening())
            await client.lost.wait()
            assert str(told[0]["exception"]) == "a fault of its own"
            await (await opened(broker)).declares("q")

    run(main())


def test_half_an_end_is_refused() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = dial(broker)
            assert not client.transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                client.transport.write_eof()
            assert client.transport.get_extra_info("peername") == "memory:1"
            assert client.transport.get_extra_info("socket", "none") == "none"
            assert client.transport.get_protocol() is client

    run(main())
