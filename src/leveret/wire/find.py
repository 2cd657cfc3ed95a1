"""Finding fields in tables without decoding them, and checking that they could be decoded (AMQP 0-9-1, 4.2.5.5).

What comes in is checked once, all of it; after that a field is found by stepping over those before it. Neither makes
objects for what it steps over. Of fields with the same name the first one counts, as in table.py.

It knows by name those headers that ask a broker for something (`check_table`), and not what.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_f32_be, read_f64_be, read_i32_be

from leveret.errors import MalformedFrame
from leveret.limits import TABLE_DEPTH, TABLE_SIZE_BYTES
from leveret.native import i64
from leveret.wire.buffer import Reader, overrun
from leveret.wire.field import (
    ARRAY,
    BINARY,
    BOOL,
    BYTE,
    DECIMAL,
    DOUBLE,
    FLOAT,
    LONG,
    LONG_STRING,
    LONG_TOO,
    SHORT,
    SIGNED_INT,
    TABLE,
    TIMESTAMP,
    TYPE_NAMES,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    UNSIGNED_SHORT,
    VOID,
    Field,
    unknown_type,
)
from leveret.wire.table import finite, read_fields, read_plain, read_scalar

B: Final[i64] = 66
C: Final[i64] = 67

SIZED: Final[i64] = 253  # a length of four bytes, then so much
NESTED: Final[i64] = 254
UNKNOWN: Final[i64] = 255

# What `check_table` finds.
HAS_COPIES: Final[i64] = 1  # CC or BCC: further routing keys (RabbitMQ's sender-selected distribution)
HAS_TERMS: Final[i64] = 2  # when to deliver, or how to try again


def _sizes() -> bytes:
    """By type byte: how many bytes a value takes, or one of the three above."""
    sizes = bytearray(b"\xff" * 256)
    for type_byte in (BOOL, BYTE, UNSIGNED_BYTE):
        sizes[type_byte] = 1
    for type_byte in (SHORT, UNSIGNED_SHORT):
        sizes[type_byte] = 2
    for type_byte in (SIGNED_INT, UNSIGNED_INT, FLOAT):
        sizes[type_byte] = 4
    for type_byte in (LONG, LONG_TOO, DOUBLE, TIMESTAMP):
        sizes[type_byte] = 8
    sizes[DECIMAL] = 5
    sizes[VOID] = 0
    sizes[LONG_STRING] = sizes[BINARY] = 253
    sizes[TABLE] = sizes[ARRAY] = 254
    return bytes(sizes)


SIZES: Final = _sizes()


def find_field(data: bytes, pos: i64, end: i64, name: bytes) -> i64:
    """Where the type byte of the first field called `name` is in the table at `pos`; -1 if there is none.

    Makes no objects but for names of the same length that begin alike. The field's value lies within the table.
    """
    stop = table_end(data, pos, end)
    wanted = i64(len(name))
    first: i64 = i64(name[0]) if wanted > 0 else -1
    at = pos + 4
    while at < stop:
        size = i64(data[at])
        type_at = at + 1 + size
        if type_at >= stop:
            raise overrun(size + 1, stop - at - 1)
        after = field_end(data, type_at, stop)
        if size == wanted and (i64(data[at + 1]) == first or size == 0) and data[at + 1 : type_at] == name:
            return type_at
        at = after
    return -1


def table_end(data: bytes, pos: i64, end: i64) -> i64:
    """Where the table whose length is at `pos` ends, having made sure that it is before `end` (-1: that of `data`)."""
    if end < 0:
        end = i64(len(data))
    if pos < 0 or end > i64(len(data)):
        raise MalformedFrame(f"the range {pos} to {end} is not within {len(data)} bytes")
    if end - pos < 4:
        raise overrun(4, end - pos)
    size = i64(read_i32_be(data, pos)) & 0xFFFFFFFF
    if size > TABLE_SIZE_BYTES:
        raise MalformedFrame(f"a table of {size} bytes, {TABLE_SIZE_BYTES} are allowed")
    if size > end - pos - 4:
        raise overrun(size, end - pos - 4)
    return pos + 4 + size


def field_end(data: bytes, type_at: i64, end: i64) -> i64:
    """Where the value of the field whose type byte is at `type_at` ends. Looks into no table and no array."""
    size: i64 = i64(SIZES[data[type_at]])
    at = type_at + 1
    if size >= SIZED:
        if size == UNKNOWN:
            raise unknown_type(i64(data[type_at]))
        if end - at < 4:
            raise overrun(4, end - at)
        size = i64(read_i32_be(data, at)) & 0xFFFFFFFF
        at += 4
    if end - at < size:
        raise overrun(size, end - at)
    return at + size


def check_table(reader: Reader) -> i64:
    """Steps over a table and raises `MalformedFrame` where reading it would, without making its values.

    Returns what its fields, as a message's headers, may ask of a broker: HAS_COPIES | HAS_TERMS.
    """
    end = table_end(reader.data, reader.pos, reader.end)
    found = check_fields(reader.data, reader.pos + 4, end)
    reader.pos = end
    return found


def check_fields(data: bytes, at: i64, end: i64) -> i64:
    """As `check_table`, for the fields of a table whose place is known."""
    return _check_fields(data, at, end, True, 1)


def _check_fields(data: bytes, at: i64, end: i64, named: bool, depth: i64) -> i64:
    """The fields of a table, or the elements of an array, between two positions. Every publish with headers comes
    here, so it makes no objects for an ordinary field."""
    found: i64 = 0
    while at < end:
        if named:
            size: i64 = i64(data[at])
            at += 1
            if end - at < size:
                raise overrun(size, end - at)
            if size == 2 or size == 3:
                if i64(data[at + size - 1]) == C and i64(data[at + size - 2]) == C:
                    if size == 2 or i64(data[at]) == B:
                        found |= HAS_COPIES
            elif size >= 7 and i64(data[at]) == 120 and i64(data[at + 1]) == 45:  # x-
                found |= _asks(data, at, size)
            at += size
            if at >= end:
                raise overrun(1, 0)
        at = _step(data, at, end, depth)
    return found


def _asks(data: bytes, at: i64, size: i64) -> i64:
    """What a field asks whose name begins with `x-`: x-delay, x-deliver-at, x-deliver-after, x-retry."""
    third = i64(data[at + 2])
    if third == 100:  # d
        name = data[at : at + size]
        if name == b"x-delay" or name.startswith(b"x-deliver-"):
            return HAS_TERMS
    elif third == 114 and data[at : at + size] == b"x-retry":  # r
        return HAS_TERMS
    return 0


def _step(data: bytes, at: i64, end: i64, depth: i64) -> i64:
    """Where the value whose type byte is at `at` ends, having made sure that it can be read."""
    type_byte: i64 = i64(data[at])
    at += 1
    size: i64 = i64(SIZES[type_byte])
    if size == SIZED:
        if end - at < 4:
            raise overrun(4, end - at)
        size = i64(read_i32_be(data, at)) & 0xFFFFFFFF
        at += 4
    elif size == NESTED:
        if depth >= TABLE_DEPTH:
            raise MalformedFrame(f"a table is nested more than {TABLE_DEPTH} deep")
        stop = table_end(data, at, end)
        _check_fields(data, at + 4, stop, type_byte == TABLE, depth + 1)
        size = stop - at
    elif size == UNKNOWN:
        raise unknown_type(type_byte)
    if end - at < size:
        raise overrun(size, end - at)
    if type_byte == DOUBLE:
        finite(read_f64_be(data, at))
    elif type_byte == FLOAT:
        finite(read_f32_be(data, at))
    return at + size


def only_like(data: bytes, pos: i64, end: i64, begin: bytes) -> i64:
    """Where the type byte of the one field is in the table at `pos` whose name begins like this; -1 if there is none,
    or more than one."""
    stop = table_end(data, pos, end)
    wanted = i64(len(begin))
    found: i64 = -1
    at = pos + 4
    while at < stop:
        size = i64(data[at])
        type_at = at + 1 + size
        if type_at >= stop:
            raise overrun(size + 1, stop - at - 1)
        if size >= wanted and begins(data, at + 1, begin):
            if found >= 0:
                return -1
            found = type_at
        at = field_end(data, type_at, stop)
    return found


def fields_like(data: bytes, pos: i64, end: i64, begin: bytes) -> dict[str, object]:
    """The fields of the table at `pos` whose names begin like this, as plain values."""
    stop = table_end(data, pos, end)
    wanted = i64(len(begin))
    found: dict[str, object] = {}
    at = pos + 4
    while at < stop:
        size = i64(data[at])
        type_at = at + 1 + size
        if type_at >= stop:
            raise overrun(size + 1, stop - at - 1)
        after = field_end(data, type_at, stop)
        if size >= wanted and begins(data, at + 1, begin):
            name = data[at + 1 : type_at].decode("utf-8", "surrogateescape")
            if name not in found:
                found[name] = value_at(data, type_at, stop)
        at = after
    return found


def begins(data: bytes, at: i64, begin: bytes) -> bool:
    """Whether what is at `at` begins so; no object is made where the first byte differs."""
    return i64(data[at]) == i64(begin[0]) and data[at : at + i64(len(begin))] == begin


def value_at(data: bytes, type_at: i64, end: i64) -> object:
    """The value of a field that `find_field` found, as a plain one."""
    type_byte = i64(data[type_at])
    if type_byte == LONG_STRING:
        size = i64(read_i32_be(data, type_at + 1)) & 0xFFFFFFFF
        return data[type_at + 5 : type_at + 5 + size].decode("utf-8", "surrogateescape")
    if type_byte == SIGNED_INT:
        return int(i64(read_i32_be(data, type_at + 1)))
    return read_plain(Reader(data, type_at + 1, end), type_byte, 1)


def field_of(data: bytes, name: str) -> Field | None:
    """The first field called `name` in the table that `data` begins with, typed."""
    type_at = find_field(data, 0, -1, name.encode("utf-8", "surrogateescape"))
    if type_at < 0:
        return None
    type_byte = i64(data[type_at])
    reader = Reader(data, type_at + 1)
    value: object
    if type_byte == TABLE or type_byte == ARRAY:
        value = read_fields(reader, 2, type_byte == TABLE)
    else:
        value = read_scalar(reader, type_byte)
    return Field(name, int(type_byte), value)


def type_of(data: bytes, name: str) -> str:
    """RabbitMQ's name of the type of a field in the table that `data` begins with; empty without such a field."""
    type_at = find_field(data, 0, -1, name.encode("utf-8", "surrogateescape"))
    return TYPE_NAMES[data[type_at]] if type_at >= 0 else ""
