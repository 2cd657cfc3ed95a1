"""Changing the headers of a message where they stand, without decoding them (AMQP 0-9-1, sections 4.2.5.5, 4.2.6.1).

Whatever is not replaced stays as the publisher wrote it, byte for byte: `splice_fields` cuts fields out of the headers
by their names and puts encoded ones behind what is left. The properties have been checked when they came in.

Knows nothing of what a header means.
"""

from __future__ import annotations

from librt.strings import BytesWriter, read_i16_be

from leveret.limits import TABLE_SIZE_BYTES
from leveret.native import i64, u8
from leveret.wire.buffer import put_long
from leveret.wire.find import field_end, table_end
from leveret.wire.properties import EXPIRATION, HEADERS, find_property, place_of


def splice_fields(
    data: bytes, pos: i64, end: i64, names: set[bytes], fields: bytes, cut_expiration: bool
) -> BytesWriter:
    """`data` with other properties from `pos` to `end`: those with the fields `fields`, and without those of the names
    `names` (each begins with `x-`) that were there. Headers that would become too long stay as they are."""
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


def _without(data: bytes, at: i64, stop: i64, names: set[bytes]) -> bytes:
    """The fields from `at` to `stop` but for those of these names."""
    begin = at
    kept = b""
    while at < stop:
        size = i64(data[at])
        after = field_end(data, at + 1 + size, stop)
        if size > 2 and i64(data[at + 1]) == 120 and i64(data[at + 2]) == 45:  # x-
            if data[at + 1 : at + 1 + size] in names:
                kept += data[begin:at]
                begin = after
        at = after
    return kept + data[begin:stop] if kept else data[begin:stop]
