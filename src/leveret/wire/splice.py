"""Changing the headers of a message where they stand, without decoding them (AMQP 0-9-1, sections 4.2.5.5, 4.2.6.1).

Whatever is not replaced stays as the publisher wrote it, byte for byte: `splice_fields` cuts fields out of the headers
by their names and puts encoded ones behind what is left. The properties have been checked when they came in.

Knows nothing of what a header means.
"""

from __future__ import annotations

from typing import final

from librt.strings import BytesWriter, read_i16_be

from leveret.limits import TABLE_SIZE_BYTES
from leveret.native import i64, u8
from leveret.wire.buffer import put_long
from leveret.wire.find import field_end, table_end
from leveret.wire.properties import EXPIRATION, HEADERS, find_property, place_of


@final
class Names:
    """Names of fields, each beginning with `x-`."""

    def __init__(self, names: set[bytes]) -> None:
        self.names = names
        self.lengths = bytearray(256)  # by length: whether there is one as long
        for name in names:
            self.lengths[len(name)] = 1

    def has(self, data: bytes, at: i64, size: i64) -> bool:
        """Whether the name of this size at `at` is one of them. Makes no object for most that are not."""
        if self.lengths[size] == 0 or i64(data[at]) != 120 or i64(data[at + 1]) != 45:  # x-
            return False
        return data[at : at + size] in self.names


def splice_fields(
    data: bytes, pos: i64, end: i64, names: Names, fields: bytes, cut_expiration: bool
) -> BytesWriter:
    """`data` with other properties from `pos` to `end`: those with the fields `fields`, and without those of these
    names that were there. Headers that would become too long stay as they are."""
    flags: i64 = i64(read_i16_be(data, pos)) & 0xFFFF
    at = place_of(data, pos, end, HEADERS)
    stop = at
    kept = b""
    if flags & HEADERS != 0:
        stop = table_end(data, at, end)
        kept = _without(data, at + 4, stop, names)
    size = i64(len(kept)) + i64(len(fields))
    if size > TABLE_SIZE_BYTES:
        kept = data[at + 4 : stop]
        size = i64(len(kept))
        fields = b""
    if size > 0:
        flags |= HEADERS
    cut_at: i64 = -1
    if cut_expiration and flags & EXPIRATION != 0:
        cut_at = find_property(data, pos, end, EXPIRATION)
        flags &= ~EXPIRATION
    out = BytesWriter()
    out.write(data[:at])
    out[pos] = u8(flags >> 8)
    out[pos + 1] = u8(flags & 0xFF)
    if flags & HEADERS != 0:
        put_long(out, size)
        out.write(kept)
        out.write(fields)
    if cut_at >= 0:
        if cut_at > stop:
            out.write(data[stop:cut_at])
        stop = cut_at + 1 + i64(data[cut_at])
    out.write(data[stop:])
    return out


def _without(data: bytes, at: i64, stop: i64, names: Names) -> bytes:
    """The fields from `at` to `stop` but for those of these names."""
    begin = at
    kept = b""
    while at < stop:
        size = i64(data[at])
        after = field_end(data, at + 1 + size, stop)
        if size > 1 and names.has(data, at + 1, size):
            kept += data[begin:at]
            begin = after
        at = after
    return kept + data[begin:stop] if kept else data[begin:stop]
