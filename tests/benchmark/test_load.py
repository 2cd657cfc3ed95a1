"""Counting and timing by length: however the bytes of a connection are cut, each message and confirm counts once."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from librt.strings import BytesWriter

from leveret.benchmark.content import CHANNEL, Batch, stamps
from leveret.benchmark.load import Publisher, Taker
from leveret.benchmark.plan import Plan
from leveret.client.link import Link
from leveret.wire import methods
from leveret.wire.frames import HEARTBEAT, body_frames, content_header


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written.append(data)


class FakeLink:
    """Keeps what it is handed because it is no part of the load."""

    frame_max_bytes = 131_072
    blocked = ""

    def __init__(self) -> None:
        self.transport = Transport()
        self.others: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.others.append(data)


def link() -> tuple[FakeLink, Link]:
    made = FakeLink()
    return made, cast(Link, made)


class Times(list[tuple[int, int]]):
    def record(self, ns: int, count: int) -> None:
        self.append((ns, count))


def delivery(tag: int, body: bytes, frame_max_bytes: int = 0) -> bytes:
    out = BytesWriter()
    methods.basic_deliver_raw(out, CHANNEL, "bench", tag, False, methods.route_bytes("", "q"))
    content_header(out, CHANNEL, len(body), b"\x10\x00\x02")
    body_frames(out, CHANNEL, body, frame_max_bytes)
    return out.getvalue()


def body(stamp_ns: int, size_bytes: int = 100) -> bytes:
    return (b"\xf5lvrtst\xf5" + stamp_ns.to_bytes(8, "big")).ljust(size_bytes, b"\0")


def acks(data: bytes) -> list[int]:
    """The tags of acks for several."""
    assert len(data) % 21 == 0
    return [int.from_bytes(data[at + 11 : at + 19], "big") for at in range(0, len(data), 21)]


def taking(plan: Plan, pieces: list[bytes]) -> tuple[Taker, FakeLink, Times]:
    async def run() -> tuple[Taker, FakeLink, Times]:
        times = Times()
        fake, real = link()
        taker = Taker(real, plan, 0, times.record)
        for piece in pieces:
            taker.data_received(piece)
        return taker, fake, times

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 7, 100, 163, 164, 165, 1000, 10_000])
@pytest.mark.parametrize("frame_max_bytes", [0, 64])
def test_deliveries_count_once_however_they_are_cut(size: int, frame_max_bytes: int) -> None:
    stream = b"".join(delivery(tag, body(tag), frame_max_bytes) for tag in range(1, 61))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    taker, fake, times = taking(Plan(ack_every=10), pieces)
    assert taker.taken == 60
    assert len(times) == 60
    assert acks(b"".join(fake.transport.written)) == [10, 20, 30, 40, 50, 60]
    assert fake.others == []


def test_what_comes_between_deliveries_is_handed_on() -> None:
    stream = b"".join(delivery(tag, body(tag)) for tag in range(1, 6)) + HEARTBEAT
    stream += b"".join(delivery(tag, body(0, 30)) for tag in range(6, 9)) + HEARTBEAT
    taker, fake, _ = taking(Plan(ack_every=0), [stream])
    assert taker.taken == 8
    assert fake.others == [HEARTBEAT, HEARTBEAT]
    assert fake.transport.written == []


def test_messages_of_other_sizes_and_none_are_counted_too() -> None:
    sizes = [0, 0, 0, 5, 5, 200, 0, 16, 16, 16, 16]
    stream = b"".join(delivery(tag, bytes(size)) for tag, size in enumerate(sizes, 1))
    taker, _, times = taking(Plan(), [stream])
    assert taker.taken == len(sizes)
    assert times == []


def test_a_consumer_that_the_broker_ends_is_told() -> None:
    out = BytesWriter()
    methods.basic_cancel(out, CHANNEL, "bench", True)
    taker, _, _ = taking(Plan(), [out.getvalue()])
    assert "was its queue deleted" in taker.ended.result().text


def settle(tag: int, multiple: bool, taken: bool = True) -> bytes:
    out = BytesWriter()
    if taken:
        methods.basic_ack(out, CHANNEL, tag, multiple)
    else:
        methods.basic_nack(out, CHANNEL, tag, multiple, False)
    return out.getvalue()


@pytest.mark.parametrize(
    ("confirms", "confirmed", "refused"),
    [
        ([settle(4, True)], 4, 0),
        ([settle(2, False), settle(1, False), settle(4, True)], 4, 0),
        ([settle(4, False), settle(2, False), settle(3, True)], 4, 0),
        ([settle(3, False), settle(2, True), settle(4, True, False)], 3, 1),
        ([settle(4, True, False)], 0, 4),
        ([settle(1, False), settle(1 + 1, True), HEARTBEAT, settle(3, False)], 3, 0),
    ],
)
@pytest.mark.parametrize("size", [1, 20, 21, 1000])
def test_confirms_count_once_in_any_order(
    confirms: list[bytes], confirmed: int, refused: int, size: int
) -> None:
    async def run() -> None:
        times = Times()
        _, real = link()
        publisher = Publisher(real, Plan(window=4), 0, times.record, 4)
        publisher.start()
        await asyncio.sleep(0)
        assert publisher.sent == 4
        stream = b"".join(confirms)
        for at in range(0, len(stream), size):
            publisher.data_received(stream[at : at + size])
        assert (publisher.confirmed, publisher.refused) == (confirmed, refused)
        assert len(times) == (4 if confirmed + refused == 4 else 3)

    asyncio.run(run())


def test_a_window_is_never_overrun_and_a_limit_is_met() -> None:
    async def run() -> None:
        fake, real = link()
        publisher = Publisher(real, Plan(window=10), 0, Times().record, 25)
        publisher.start()
        on_the_way = []
        while publisher.confirmed < 25:
            await asyncio.sleep(0)
            on_the_way.append(publisher.sent - publisher.confirmed)
            publisher.data_received(settle(publisher.sent, True))
        assert max(on_the_way) <= 10
        assert publisher.sent == 25
        assert len(b"".join(fake.transport.written)) == 25 * publisher.batch.unit_bytes

    asyncio.run(run())


@pytest.mark.parametrize("messages", [1, 999, 3000, 20_001])
def test_without_confirms_all_messages_are_sent_and_no_more(messages: int) -> None:
    async def run() -> None:
        fake, real = link()
        publisher = Publisher(real, Plan(window=0), 0, Times().record, messages)
        publisher.start()
        for _ in range(100):
            await asyncio.sleep(0)
        assert publisher.sent == publisher.confirmed == messages
        assert len(b"".join(fake.transport.written)) == messages * publisher.batch.unit_bytes

    asyncio.run(run())


def test_a_batch_is_stamped_once_or_each_message_with_its_time() -> None:
    batch = Batch("", "q", 100, True, 5, 131_072)
    data = batch.at(7, 5)
    assert stamps(data, 0, len(data)) == [7]
    batch.mark_all()
    data = batch.paced(1000, 2.5, 4)
    assert len(data) == 4 * batch.unit_bytes
    assert stamps(data, 0, len(data)) == [1000, 1002, 1005, 1007]


def test_bodies_without_room_for_a_stamp_have_none() -> None:
    batch = Batch("", "q", 15, True, 5, 131_072)
    data = batch.at(7, 5)
    assert stamps(data, 0, len(data)) == []
