"""Reading and writing the elementary fields of AMQP 0-9-1 (specification, section 4.2).

Knows octets, integers, short and long strings, and where the bytes end. Knows nothing of tables, methods or
frames. A `Reader` never looks past its `end`: whatever a length claims, what is not there raises
`MalformedFrame`. What the caller hands to the writing functions is our own: a number or a text that does not
fit its field raises `ValueError`.

Integers are unsigned, as in the specification, unless a name says otherwise. Texts are UTF-8 with
`surrogateescape`, so that bytes which are not UTF-8 come back unchanged.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i16_be,
    write_i32_be,
    write_i64_be,
)

from leveret.errors import FrameError, MalformedFrame
from leveret.limits import SHORT_STRING_BYTES
from leveret.native import i16, i32, i64, u8

TWO_TO_64: Final = 1 << 64


def overrun(wanted_bytes: i64, left_bytes: i64) -> MalformedFrame:
    return MalformedFrame(
        f"a field of {wanted_bytes} bytes begins {left_bytes} bytes before the end of its data"
    )


@final
class Reader:
    """Reads one field after the other from `data[pos:end]`; an `end` of -1 is the end of `data`."""

    def __init__(self, data: bytes, pos: i64 = 0, end: i64 = -1) -> None:
        length = i64(len(data))
        if end < 0:
            end = length
        if pos < 0 or pos > end or end > length:
            raise MalformedFrame(f"the range {pos} to {end} is not within {length} bytes")
        self.data = data
        self.pos: i64 = pos
        self.end: i64 = end

    def remaining(self) -> i64:
        return self.end - self.pos

    def take(self, size_bytes: i64) -> i64:
        """Steps over `size_bytes` and gives the position at which they begin."""
        at = self.pos
        if size_bytes < 0 or self.end - at < size_bytes:
            raise overrun(size_bytes, self.end - at)
        self.pos = at + size_bytes
        return at

    def finish(self) -> None:
        """Call after the last field: bytes behind it belong to nothing."""
        if self.pos != self.end:
            raise MalformedFrame(f"{self.end - self.pos} bytes behind the last field")

    def octet(self) -> i64:
        return i64(self.data[self.take(1)])

    def short(self) -> i64:
        return i64(read_i16_be(self.data, self.take(2))) & 0xFFFF

    def long(self) -> i64:
        return i64(read_i32_be(self.data, self.take(4))) & 0xFFFFFFFF

    def signed_longlong(self) -> i64:
        return read_i64_be(self.data, self.take(8))

    def longlong(self) -> int:
        value: int = int(read_i64_be(self.data, self.take(8)))
        return value if value >= 0 else value + TWO_TO_64

    def timestamp(self) -> int:
        """Seconds since 1970 (4.2.5.4), unsigned as RabbitMQ reads them."""
        return self.longlong()

    def raw(self, size_bytes: i64) -> bytes:
        at = self.take(size_bytes)
        return self.data[at : at + size_bytes]

    def rest(self) -> bytes:
        return self.raw(self.end - self.pos)

    def shortstr_bytes(self) -> bytes:
        return self.raw(self.octet())

    def shortstr(self) -> str:
        return self.raw(self.octet()).decode("utf-8", "surrogateescape")

    def name(self) -> str:
        """A short string that has to be UTF-8, as RabbitMQ demands it in methods without content."""
        try:
            return self.raw(self.octet()).decode("utf-8")
        except UnicodeDecodeError:
            raise FrameError("Malformed UTF-8 in shortstr") from None

    def longstr(self) -> bytes:
        return self.raw(self.long())


def put_octet(out: BytesWriter, value: i64) -> None:
    if value < 0 or value > 0xFF:
        raise ValueError(f"{value} is not an octet")
    out.append(u8(value))


def put_short(out: BytesWriter, value: i64) -> None:
    if value < 0 or value > 0xFFFF:
        raise ValueError(f"{value} does not fit a 16-bit field")
    write_i16_be(out, i16(value if value < 0x8000 else value - 0x10000))


def put_long(out: BytesWriter, value: i64) -> None:
    if value < 0 or value > 0xFFFFFFFF:
        raise ValueError(f"{value} does not fit a 32-bit field")
    write_i32_be(out, i32(value if value < 0x80000000 else value - 0x100000000))


def put_longlong(out: BytesWriter, value: int) -> None:
    if value < 0 or value >= TWO_TO_64:
        raise ValueError(f"{value} does not fit a 64-bit field")
    write_i64_be(out, i64(value if value < (1 << 63) else value - TWO_TO_64))


def put_shortstr_bytes(out: BytesWriter, value: bytes) -> None:
    size = i64(len(value))
    if size > SHORT_STRING_BYTES:
        raise ValueError(f"a short string has at most {SHORT_STRING_BYTES} bytes, not {size}")
    out.append(u8(size))
    out.write(value)


def put_shortstr(out: BytesWriter, value: str) -> None:
    put_shortstr_bytes(out, value.encode("utf-8", "surrogateescape"))


def put_reply_text(out: BytesWriter, value: str) -> None:
    """A short string for people, cut where it is too long: telling of an error must not fail on its text."""
    encoded = value.encode("utf-8", "replace")
    if len(encoded) > SHORT_STRING_BYTES:
        encoded = encoded[:SHORT_STRING_BYTES].decode("utf-8", "ignore").encode("utf-8")
    put_shortstr_bytes(out, encoded)


def put_longstr(out: BytesWriter, value: bytes) -> None:
    put_long(out, i64(len(value)))
    out.write(value)


def patch_long(out: BytesWriter, at: i64, value: i64) -> None:
    """Overwrites the 32-bit number at `at`, for a size that is known only once its content is written."""
    out[at] = u8((value >> 24) & 0xFF)
    out[at + 1] = u8((value >> 16) & 0xFF)
    out[at + 2] = u8((value >> 8) & 0xFF)
    out[at + 3] = u8(value & 0xFF)


def pack_bits(
    first: bool, second: bool = False, third: bool = False, fourth: bool = False, fifth: bool = False
) -> i64:
    """Adjacent bit fields share an octet, the first in its lowest bit (4.2.5.2). No method has more than five."""
    bits: i64 = 0
    if first:
        bits = 1
    if second:
        bits |= 2
    if third:
        bits |= 4
    if fourth:
        bits |= 8
    if fifth:
        bits |= 16
    return bits
