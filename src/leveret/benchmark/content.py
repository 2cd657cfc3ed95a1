"""Messages encoded once and sent many times, and the stamps in them.

    body    0        8        16
            MARK     stamp    zeros ...

A stamp says when the message was due, in nanoseconds of the clock that all processes of a machine share. It is looked for
by its mark in whatever comes in, so that counting messages and timing some of them needs no look at each.
"""

from __future__ import annotations

import struct
import time
from typing import Final

from librt.strings import BytesWriter

from leveret.wire import methods, requests
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, encode_properties

MARK: Final = b"\xf5lvrtst\xf5"
STAMP: Final = struct.Struct(">Q")
STAMPED_BYTES: Final = len(MARK) + STAMP.size
CHANNEL: Final = 1

now_ns = time.monotonic_ns


class Batch:
    """`count` publishes as bytes, of which as many can be sent as one wants."""

    def __init__(
        self, exchange: str, key: str, size_bytes: int, persistent: bool, count: int, frame_max_bytes: int
    ) -> None:
        out = BytesWriter()
        requests.basic_publish_raw(out, CHANNEL, methods.route_bytes(exchange, key))
        properties = encode_properties(Properties(delivery_mode=2 if persistent else 1))
        content_header(out, CHANNEL, size_bytes, properties)
        body_at = len(out.getvalue()) + 7  # behind the head of the first body frame
        stamped = size_bytes >= STAMPED_BYTES
        body_frames(out, CHANNEL, bytes(size_bytes), frame_max_bytes)
        one = out.getvalue()
        self.unit_bytes = len(one)
        self.count = count
        self.stamp_at = body_at + len(MARK) if stamped else -1
        self._body_at = body_at
        self._plain = one
        self._data = bytearray(one * count)
        if stamped:
            self._mark(0)

    def _mark(self, index: int) -> None:
        at = index * self.unit_bytes + self._body_at
        self._data[at : at + len(MARK)] = MARK

    def mark_all(self) -> None:
        """For loads in which every message is stamped."""
        if self.stamp_at >= 0:
            for index in range(self.count):
                self._mark(index)

    def at(self, stamp_ns: int, count: int) -> bytes:
        """So many messages, the first of them stamped."""
        if self.stamp_at >= 0:
            STAMP.pack_into(self._data, self.stamp_at, stamp_ns)
        return bytes(self._data) if count == self.count else bytes(self._data[: count * self.unit_bytes])

    def paced(self, first_ns: int, step_ns: float, count: int) -> bytes:
        """So many messages, each stamped with its own time."""
        if self.stamp_at >= 0:
            at, pack, data = self.stamp_at, STAMP.pack_into, self._data
            for index in range(count):
                pack(data, at, first_ns + int(index * step_ns))
                at += self.unit_bytes
        return bytes(self._data[: count * self.unit_bytes])


def stamps(data: bytes, begin: int, end: int) -> list[int]:
    """All that are whole between two positions."""
    found: list[int] = []
    at = data.find(MARK, begin, end)
    while at >= 0 and at + STAMPED_BYTES <= end:
        found.append(STAMP.unpack_from(data, at + len(MARK))[0])
        at = data.find(MARK, at + STAMPED_BYTES, end)
    return found
