"""Connections under load: one that publishes, one that consumes; each takes over the transport of a client's connection
once the broker has let it in.

Messages of a load are alike, so deliveries are counted by length: where as many bytes came as so many of them take, and the
last of them is one of that size, with the delivery tag that is due, they are all there. Whatever else comes is looked at
frame by frame.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter

from leveret.benchmark.alarm import Alarm
from leveret.benchmark.content import CHANNEL, Batch, now_ns, stamps
from leveret.benchmark.plan import Plan
from leveret.client.engine.message import Handling
from leveret.client.link import Link, Owner, refusal
from leveret.errors import Disconnected, LeveretError
from leveret.wire import methods, requests
from leveret.wire.frames import FRAME_END, FRAME_HEAD_BYTES, FRAME_HEADER, FRAME_METHOD
from leveret.wire.signatures import decode_method

TURN_BATCHES: Final = 8  # written before others get their turn
LEAST_NS: Final = 50_000  # between two looks at what is due, for each connection of the load
LEAST_MAX_NS: Final = 1_000_000
PACED_MAX: Final = 1_000  # messages in one batch of a paced load
LARGE_BYTES: Final = 65_536  # of a batch, about
TAG: Final = struct.Struct(">Q")
SETTLE: Final = struct.Struct(">BHIIQBB")  # a whole frame of basic.ack or basic.nack
ACK_BYTES: Final = SETTLE.size
Record = Callable[[int, int], None]  # nanoseconds, and of how many messages


class Connection(asyncio.Protocol, Owner):
    """What both have in common: frames, and that a connection ends."""

    def __init__(self, link: Link) -> None:
        transport = link.transport
        assert transport is not None
        self.link = link
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[LeveretError] = self.loop.create_future()
        self._rest = b""
        self._paused = False
        transport.set_protocol(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def connection_lost(self, error: BaseException | None) -> None:
        self.link.connection_lost(error)
        self.fail(self.link.lost.result() if self.link.lost.done() else Disconnected("the broker hung up"))

    def fail(self, error: LeveretError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, length = 0, len(data)
        while length - at > FRAME_HEAD_BYTES:
            many = self.many(data, at, length)
            if many:
                at += many
                continue
            end = at + FRAME_HEAD_BYTES + int.from_bytes(data[at + 3 : at + 7], "big")
            if end >= length:
                break
            self.frame(data, at, end + 1)
            at = end + 1
        self._rest = data[at:]
        self.after()

    def many(self, data: bytes, at: int, length: int) -> int:
        """How many bytes from here on were dealt with at once."""
        return 0

    def after(self) -> None:
        """All that came is dealt with."""

    def frame(self, data: bytes, at: int, end: int) -> None:
        """One that is no part of the load."""
        if data[at] == FRAME_METHOD:
            method = int.from_bytes(data[at + 7 : at + 11], "big")
            if method in (methods.CHANNEL_CLOSE, methods.CONNECTION_CLOSE):
                self.fail(refusal(decode_method(data[at + 7 : end - 1]).fields))
            elif method == methods.BASIC_CANCEL:
                self.fail(Disconnected("the broker ended the consumer: was its queue deleted?"))
        self.link.data_received(data[at:end])

    async def open_channel(self) -> None:
        """The link knows of the channel, and sees nothing of the load."""
        await self.link.open_channel(self, Handling(), None, False, CHANNEL)

    async def close(self) -> None:
        await self.link.close()

    # ---- for the link, as the owner of the channel

    def closed(self, error: LeveretError) -> None:
        self.fail(error)


class Publisher(Connection):
    """Sends batches as long as the confirms allow, or what is due at a rate.

    sent, confirmed, refused: counts, the last of them at `last_ns`. With a window of 0 what is sent counts as confirmed.
    """

    def __init__(self, link: Link, plan: Plan, number: int, record: Record, messages: int) -> None:
        super().__init__(link)
        self.plan = plan
        self.limit = messages
        self.sent = self.confirmed = self.refused = 0
        self.last_ns = 0
        self._record = record
        self._low = 0  # all up to this tag are settled
        self._early: set[int] = set()  # and these above it
        self._on_the_way: deque[tuple[int, int, int]] = deque()  # last tag, when it was due, how many
        self._going = False
        self._asked = False
        self._step_ns = 1e9 * plan.connections / plan.rate if plan.rate > 0 else 0.0
        self._offset_ns = self._step_ns * number / plan.connections
        self._began_ns = 0
        self._alarm = Alarm(self._again) if self._step_ns else None
        large = max(1, LARGE_BYTES * 2 // (plan.size_bytes + 60))
        quarter = max(1, plan.window // 4) if plan.window else PACED_MAX
        count = min(large, PACED_MAX if self._step_ns else quarter)
        key = "" if plan.exchange else plan.queue(number)
        self.batch = Batch(plan.exchange, key, plan.size_bytes, plan.persistent, count, link.frame_max_bytes)
        if self._step_ns:
            self.batch.mark_all()

    async def open(self) -> None:
        await self.open_channel()
        if self.plan.window:
            select = methods.CONFIRM_SELECT_OK
            await self.link.ask(CHANNEL, lambda out: requests.confirm_select(out, CHANNEL), select)

    def start(self) -> None:
        self._going = True
        self._began_ns = now_ns() + int(self._offset_ns)
        self.link.on_blocked = self._blocked
        self._again()

    def stop(self) -> None:
        self._going = False

    async def close(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
        await super().close()

    def _blocked(self, reason: str) -> None:
        if not reason:
            self._again()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._again()

    def _again(self) -> None:
        if not self._asked and self._going:
            self._asked = True
            self.loop.call_soon(self._send)

    def _room(self) -> int:
        room = self.batch.count
        if self.plan.window:
            room = min(room, self.plan.window - (self.sent - self.confirmed - self.refused))
        if self.limit:
            room = min(room, self.limit - self.sent)
        return room

    def _send(self) -> None:
        self._asked = False
        if self._step_ns:
            self._send_due()
            return
        for _ in range(TURN_BATCHES):
            room = self._room()
            least = min(self.batch.count, self.limit - self.sent) if self.limit else self.batch.count
            if not self._going or self._paused or self.link.blocked or room < max(1, least):
                return
            stamp = now_ns()
            self._write(self.batch.at(stamp, room), room, stamp)
        self._again()

    def _send_due(self) -> None:
        """Whatever is due by now, as far as there is room; each is stamped with the time at which it was due."""
        now = now_ns()
        while self._going and not self._paused and not self.link.blocked:
            due = int((now - self._began_ns) / self._step_ns) + 1 - self.sent if now >= self._began_ns else 0
            count = min(due, self._room())
            if count <= 0:
                break
            first = self._began_ns + int(self.sent * self._step_ns)
            self._write(self.batch.paced(first, self._step_ns, count), count, first)
        if self._alarm is not None and self._going and not (self.limit and self.sent >= self.limit):
            least_ns = min(LEAST_NS * self.plan.connections, LEAST_MAX_NS)
            self._alarm.set(max(now + least_ns, self._began_ns + int(self.sent * self._step_ns)))

    def _write(self, data: bytes, count: int, due_ns: int) -> None:
        self.sent += count
        if self.plan.window:
            self._on_the_way.append((self.sent, due_ns, count))
        else:
            self.confirmed += count
            self.last_ns = due_ns
        self.transport.write(data)

    def many(self, data: bytes, at: int, length: int) -> int:
        """Confirms, as long as nothing else comes."""
        start = at
        while length - at >= ACK_BYTES:
            kind, _, size, method, tag, bits, end = SETTLE.unpack_from(data, at)
            if kind != FRAME_METHOD or size != ACK_BYTES - 8 or end != FRAME_END:
                break
            if method == methods.BASIC_ACK:
                self._confirm(tag, bits & 1 != 0, True)
            elif method == methods.BASIC_NACK:
                self._confirm(tag, bits & 1 != 0, False)
            else:
                break
            at += ACK_BYTES
        return at - start

    def _confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        if multiple:
            above = {number for number in self._early if number > tag} if self._early else set()
            count = tag - self._low - (len(self._early) - len(above))
            self._low, self._early = tag, above
        else:
            count = 1
            self._early.add(tag)
        while self._early and self._low + 1 in self._early:
            self._low += 1
            self._early.discard(self._low)
        if taken:
            self.confirmed += count
        else:
            self.refused += count

    def after(self) -> None:
        """Time what is confirmed by now, a batch when its last message is."""
        while self._on_the_way and self._on_the_way[0][0] <= self._low:
            _, due_ns, count = self._on_the_way.popleft()
            self._record(now_ns() - due_ns, count)
        self.last_ns = now_ns()
        if self._going:
            self._again()


class Taker(Connection):
    """Consumes one queue, acks in steps, counts and times. `last_ns`: when the last of `taken` came."""

    def __init__(self, link: Link, plan: Plan, number: int, record: Record) -> None:
        super().__init__(link)
        self.plan = plan
        self.taken = 0
        self.last_ns = 0
        self._queue = plan.queue(number)
        self._record = record
        self._acked = 0
        self._head = b""  # how a delivery begins, up to its tag
        self._header = b""  # how its content header begins, up to the size of the body
        self._unit_bytes = 0  # all of one, when it is known
        self._deliver_bytes = 0
        self._left_bytes = -1  # of the body that is coming in
        self._size_bytes = 0

    async def open(self) -> None:
        ask, plan = self.link.ask, self.plan
        await self.open_channel()
        if plan.prefetch:
            qos = lambda out: requests.basic_qos(out, CHANNEL, plan.prefetch)  # noqa: E731
            await ask(CHANNEL, qos, methods.BASIC_QOS_OK)

    def start(self) -> None:
        no_ack = self.plan.ack_every == 0
        self.link.say(lambda out: requests.basic_consume(out, CHANNEL, self._queue, "bench", no_ack=no_ack))

    def many(self, data: bytes, at: int, length: int) -> int:
        unit = self._unit_bytes
        count = (length - at) // unit if unit else 0
        if count == 0 or self._left_bytes >= 0 or not data.startswith(self._head, at):
            return 0
        last = at + (count - 1) * unit
        if not data.startswith(self._head, last):
            return 0
        if not data.startswith(self._header, last + self._deliver_bytes):
            return 0
        if TAG.unpack_from(data, last + len(self._head))[0] != self.taken + count:
            return 0
        end = at + count * unit
        self._came(count, stamps(data, at, end))
        return end - at

    def frame(self, data: bytes, at: int, end: int) -> None:
        kind = data[at]
        if kind == FRAME_METHOD and data[at + 7 : at + 11] == b"\x00\x3c\x00\x3c":  # basic.deliver
            tag_at = 12 + data[at + 11]  # behind the consumer tag
            self._head = data[at : at + tag_at]
            self._deliver_bytes = end - at
            self._size_bytes = 0
            self._left_bytes = 0
        elif kind == FRAME_HEADER and self._left_bytes >= 0:
            self._header = data[at : at + 19]
            self._left_bytes = int.from_bytes(data[at + 11 : at + 19], "big")
            self._size_bytes = self._deliver_bytes + end - at
            if self._left_bytes == 0:
                self._whole(data, at, at)
        elif self._left_bytes > 0:
            self._left_bytes -= end - at - FRAME_HEAD_BYTES - 1
            self._size_bytes += end - at
            found = stamps(data, at, end)
            if found:
                self._came(0, found)
            if self._left_bytes == 0:
                self._whole(data, at, end)
        else:
            super().frame(data, at, end)

    def _whole(self, data: bytes, at: int, end: int) -> None:
        self._unit_bytes = self._size_bytes
        self._left_bytes = -1
        self._came(1, [])

    def _came(self, count: int, stamped: list[int]) -> None:
        self.taken += count
        if stamped:
            now = now_ns()
            for stamp in stamped:
                self._record(now - stamp, 1)

    def after(self) -> None:
        self.last_ns = now_ns()
        step = self.plan.ack_every
        if step and self.taken - self._acked >= step:
            self._ack(step)

    def _ack(self, step: int) -> None:
        out = BytesWriter()
        while self.taken - self._acked >= step:
            self._acked += step
            methods.basic_ack(out, CHANNEL, self._acked, True)
        self.transport.write(out.getvalue())

    def stop(self) -> None:
        """Ack the rest, in one go."""
        if self.plan.ack_every and self.taken > self._acked:
            self._ack(self.taken - self._acked)
