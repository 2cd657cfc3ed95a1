"""Field tables and field arrays, read, searched and written (AMQP 0-9-1, section 4.2.5.5; types in field.py).

Two forms: plain Python values (`decode_table`), in which the width of a number is lost, and `Field`s
(`decode_typed_table`), which keep type bytes, order and repeated names and so encode to the same bytes
(but for a true bool that was not 1). Of fields with the same name the first one counts, as in RabbitMQ.

Depth and size are bounded. Knows nothing of what any field means.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Final

from librt.strings import (
    BytesWriter,
    read_f32_be,
    read_f64_be,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_f32_be,
    write_f64_be,
    write_i16_be,
    write_i32_be,
    write_i64_be,
)

from leveret.errors import MalformedFrame
from leveret.limits import TABLE_DEPTH, TABLE_SIZE_BYTES
from leveret.native import i16, i32, i64, u8
from leveret.wire.buffer import (
    Reader,
    overrun,
    patch_long,
    put_long,
    put_longlong,
    put_longstr,
    put_octet,
    put_short,
    put_shortstr,
)
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
    Timestamp,
    type_byte_of,
    unknown_type,
)

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
LARGEST_FLOAT: Final = 3.4028234663852886e38  # of 32 bits

# reading


def decode_table(data: bytes, pos: i64 = 0, end: i64 = -1) -> dict[str, object]:
    """The table whose length is at `pos`, as plain values. Bytes behind it are not looked at."""
    return read_table(Reader(data, pos, end))


def decode_typed_table(data: bytes, pos: i64 = 0, end: i64 = -1) -> list[Field]:
    """The table whose length is at `pos`, with the types of its fields, in order."""
    return read_typed_table(Reader(data, pos, end))


def read_table(reader: Reader) -> dict[str, object]:
    return _read_plain_table(reader, 1)


def read_typed_table(reader: Reader) -> list[Field]:
    return _read_fields(reader, 1, True)


def _enter(reader: Reader, depth: i64) -> i64:
    """Reads the length of a table or an array and gives where it ends."""
    size = reader.long()
    if depth > TABLE_DEPTH:
        raise MalformedFrame(f"a table is nested more than {TABLE_DEPTH} deep")
    if size > TABLE_SIZE_BYTES:
        raise MalformedFrame(f"a table of {size} bytes, {TABLE_SIZE_BYTES} are allowed")
    if size > reader.remaining():
        raise overrun(size, reader.remaining())
    return reader.pos + size


def _read_plain_table(reader: Reader, depth: i64) -> dict[str, object]:
    outer = reader.end
    reader.end = _enter(reader, depth)
    table: dict[str, object] = {}
    while reader.pos < reader.end:
        name = reader.shortstr()
        value = _read_plain(reader, reader.octet(), depth)
        if name not in table:
            table[name] = value
    reader.end = outer
    return table


def _read_plain(reader: Reader, type_byte: i64, depth: i64) -> object:
    if type_byte == TABLE:
        return _read_plain_table(reader, depth + 1)
    if type_byte == ARRAY:
        outer = reader.end
        reader.end = _enter(reader, depth + 1)
        array: list[object] = []
        while reader.pos < reader.end:
            array.append(_read_plain(reader, reader.octet(), depth + 1))
        reader.end = outer
        return array
    return _read_scalar(reader, type_byte)


def _read_fields(reader: Reader, depth: i64, named: bool) -> list[Field]:
    """A table's fields, or with `named` false the elements of an array."""
    outer = reader.end
    reader.end = _enter(reader, depth)
    fields: list[Field] = []
    while reader.pos < reader.end:
        name = reader.shortstr() if named else ""
        type_byte = reader.octet()
        value: object
        if type_byte == TABLE or type_byte == ARRAY:
            value = _read_fields(reader, depth + 1, type_byte == TABLE)
        else:
            value = _read_scalar(reader, type_byte)
        fields.append(Field(name, int(type_byte), value))
    reader.end = outer
    return fields


def _read_scalar(reader: Reader, type_byte: i64) -> object:
    if type_byte == LONG_STRING:
        return reader.longstr().decode("utf-8", "surrogateescape")
    if type_byte == BOOL:
        return reader.octet() != 0
    if type_byte == VOID:
        return None
    if type_byte == BINARY:
        return reader.longstr()
    if type_byte == TIMESTAMP:
        return Timestamp(reader.longlong())
    if type_byte == DECIMAL:
        return _read_decimal(reader)
    if type_byte == DOUBLE:
        return _finite(read_f64_be(reader.data, reader.take(8)))
    if type_byte == FLOAT:
        return _finite(read_f32_be(reader.data, reader.take(4)))
    return int(_read_integer(reader, type_byte))


def _read_integer(reader: Reader, type_byte: i64) -> i64:
    if type_byte == SIGNED_INT:
        return i64(read_i32_be(reader.data, reader.take(4)))
    if type_byte == LONG or type_byte == LONG_TOO:
        return read_i64_be(reader.data, reader.take(8))
    if type_byte == UNSIGNED_INT:
        return reader.long()
    if type_byte == SHORT:
        return i64(read_i16_be(reader.data, reader.take(2)))
    if type_byte == UNSIGNED_SHORT:
        return reader.short()
    if type_byte == UNSIGNED_BYTE:
        return reader.octet()
    if type_byte == BYTE:
        octet = reader.octet()
        return octet if octet < 128 else octet - 256
    raise unknown_type(type_byte)


def _read_decimal(reader: Reader) -> Decimal:
    places = reader.octet()
    number = reader.long()
    # From digits, since arithmetic would round to whatever context the program has set.
    digits = tuple([int(digit) for digit in str(number)])
    return Decimal((0, digits, -int(places)))


def _finite(value: float) -> float:
    if not isfinite(value):
        raise MalformedFrame(f"a table has the floating point number {value}")
    return value


# finding without decoding


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
        if size == wanted and (i64(data[at + 1]) == first or size == 0) and data[at + 1 : type_at] == name:
            _step(data, type_at, stop, 1)
            return type_at
        at = _step(data, type_at, stop, 1)
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
    """Where the value of a field that `find_field` found ends."""
    return _step(data, type_at, end, 1)


def check_table(reader: Reader) -> i64:
    """Steps over a table and raises `MalformedFrame` where reading it would, without making its values.

    Returns what its fields, as a message's headers, may ask of a broker: HAS_COPIES | HAS_TERMS.
    """
    end = _enter(reader, 1)
    found = _check_fields(reader.data, reader.pos, end, True, 1)
    reader.pos = end
    return found


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
                name = data[at : at + size]
                if name == b"CC" or name == b"BCC":
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
        nested = Reader(data, at, end)
        stop = _enter(nested, depth + 1)
        _check_fields(data, nested.pos, stop, type_byte == TABLE, depth + 1)
        size = stop - at
    elif size == UNKNOWN:
        raise unknown_type(type_byte)
    if end - at < size:
        raise overrun(size, end - at)
    if type_byte == DOUBLE:
        _finite(read_f64_be(data, at))
    elif type_byte == FLOAT:
        _finite(read_f32_be(data, at))
    return at + size


def value_at(data: bytes, type_at: i64, end: i64) -> object:
    """The value of a field that `find_field` found, as a plain one."""
    type_byte = i64(data[type_at])
    if type_byte == LONG_STRING:
        size = i64(read_i32_be(data, type_at + 1)) & 0xFFFFFFFF
        return data[type_at + 5 : type_at + 5 + size].decode("utf-8", "surrogateescape")
    return _read_plain(Reader(data, type_at + 1, end), type_byte, 1)


def field_of(data: bytes, name: str) -> Field | None:
    """The first field called `name` in the table that `data` begins with, typed."""
    type_at = find_field(data, 0, -1, name.encode("utf-8", "surrogateescape"))
    if type_at < 0:
        return None
    type_byte = i64(data[type_at])
    reader = Reader(data, type_at + 1)
    value: object
    if type_byte == TABLE or type_byte == ARRAY:
        value = _read_fields(reader, 2, type_byte == TABLE)
    else:
        value = _read_scalar(reader, type_byte)
    return Field(name, int(type_byte), value)


def type_of(data: bytes, name: str) -> str:
    """RabbitMQ's name of the type of a field in the table that `data` begins with; empty without such a field."""
    type_at = find_field(data, 0, -1, name.encode("utf-8", "surrogateescape"))
    return TYPE_NAMES[data[type_at]] if type_at >= 0 else ""


# writing


def encode_table(table: dict[str, object]) -> bytes:
    out = BytesWriter()
    put_table(out, table)
    return out.getvalue()


def encode_typed_table(fields: list[Field]) -> bytes:
    out = BytesWriter()
    put_typed_table(out, fields)
    return out.getvalue()


def put_table(out: BytesWriter, table: dict[str, object]) -> None:
    _put_plain_table(out, table, 1)


def put_field(out: BytesWriter, name: str, value: object) -> None:
    """One field of a table. A number takes 64 bits: so RabbitMQ writes the headers that it adds (mc_amqpl)."""
    put_shortstr(out, name)
    if isinstance(value, int) and not isinstance(value, bool):
        out.append(u8(LONG))
        _put_integer(out, LONG, value)
    else:
        _put_plain(out, value, 1)


def put_typed_table(out: BytesWriter, fields: list[Field]) -> None:
    _put_fields(out, fields, 1, True)


def _open(out: BytesWriter, depth: i64) -> i64:
    if depth > TABLE_DEPTH:
        raise ValueError(f"a table is nested more than {TABLE_DEPTH} deep")
    at = i64(len(out))
    put_long(out, 0)
    return at


def _close(out: BytesWriter, at: i64) -> None:
    size = i64(len(out)) - at - 4
    if size > TABLE_SIZE_BYTES:
        raise ValueError(f"a table of {size} bytes, {TABLE_SIZE_BYTES} are allowed")
    patch_long(out, at, size)


def _put_plain_table(out: BytesWriter, table: dict[str, object], depth: i64) -> None:
    at = _open(out, depth)
    for name, value in table.items():
        put_shortstr(out, name)
        _put_plain(out, value, depth)
    _close(out, at)


def _put_plain(out: BytesWriter, value: object, depth: i64) -> None:
    type_byte = type_byte_of(value)
    out.append(u8(type_byte))
    if isinstance(value, dict):
        _put_plain_table(out, value, depth + 1)
    elif isinstance(value, (list, tuple)):
        at = _open(out, depth + 1)
        for item in value:
            _put_plain(out, item, depth + 1)
        _close(out, at)
    else:
        _put_scalar(out, type_byte, value)


def _put_fields(out: BytesWriter, fields: list[Field], depth: i64, named: bool) -> None:
    at = _open(out, depth)
    for field in fields:
        if named:
            put_shortstr(out, field.name)
        out.append(u8(field.type_byte))
        value = field.value
        if field.type_byte == TABLE or field.type_byte == ARRAY:
            if not isinstance(value, list):
                raise mismatch(field.type_byte, value)
            _put_fields(out, value, depth + 1, field.type_byte == TABLE)
        else:
            _put_scalar(out, field.type_byte, value)
    _close(out, at)


def _put_scalar(out: BytesWriter, type_byte: i64, value: object) -> None:
    """Writes a value behind its type byte, and refuses one that is not of that type."""
    if type_byte == LONG_STRING and isinstance(value, str):
        put_longstr(out, value.encode("utf-8", "surrogateescape"))
    elif type_byte == BOOL and isinstance(value, bool):
        out.append(1 if value else 0)
    elif type_byte == VOID and value is None:
        pass  # has no bytes but its type
    elif (type_byte == DOUBLE or type_byte == FLOAT) and isinstance(value, float):
        _put_float(out, type_byte, value)
    elif type_byte == BINARY and isinstance(value, (bytes, bytearray)):
        put_longstr(out, bytes(value))
    elif type_byte == TIMESTAMP and isinstance(value, Timestamp):
        put_longlong(out, value.seconds)
    elif type_byte == TIMESTAMP and isinstance(value, datetime):
        put_longlong(out, seconds_of(value))
    elif type_byte == DECIMAL and isinstance(value, Decimal):
        _put_decimal(out, value)
    elif isinstance(value, int) and not isinstance(value, bool):
        _put_integer(out, type_byte, value)
    else:
        raise mismatch(type_byte, value)


def mismatch(type_byte: i64, value: object) -> TypeError:
    return TypeError(f"a field of type {TYPE_NAMES[int(type_byte)]} cannot hold a {type(value).__name__}")


def _put_float(out: BytesWriter, type_byte: i64, value: float) -> None:
    if not isfinite(value) or (type_byte == FLOAT and abs(value) > LARGEST_FLOAT):
        raise ValueError(f"a table cannot hold {value} as a {TYPE_NAMES[int(type_byte)]}")
    if type_byte == FLOAT:
        write_f32_be(out, value)
    else:
        write_f64_be(out, value)


def _put_integer(out: BytesWriter, type_byte: i64, value: int) -> None:
    if type_byte == SIGNED_INT:
        write_i32_be(out, i32(within(value, 32)))
    elif type_byte == LONG or type_byte == LONG_TOO:
        write_i64_be(out, i64(within(value, 64)))
    elif type_byte == SHORT:
        write_i16_be(out, i16(within(value, 16)))
    elif type_byte == BYTE:
        out.append(u8(within(value, 8) & 0xFF))
    elif type_byte == UNSIGNED_INT:
        put_long(out, value)
    elif type_byte == UNSIGNED_SHORT:
        put_short(out, value)
    elif type_byte == UNSIGNED_BYTE:
        put_octet(out, value)
    else:
        raise mismatch(type_byte, value)


def within(value: int, bits: int) -> int:
    if value < -(1 << (bits - 1)) or value >= 1 << (bits - 1):
        raise ValueError(f"{value} does not fit a signed field of {bits} bits")
    return value


def _put_decimal(out: BytesWriter, value: Decimal) -> None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"a table cannot hold the decimal number {value}")
    number = int("".join([str(digit) for digit in digits]))
    if exponent > 0:
        # Too many zeros never fit, and 10 ** exponent could be as large as the caller likes.
        number = number * 10 ** min(exponent, 10)
        exponent = 0
    # RabbitMQ reads an unsigned number: a negative one would become another value on the way.
    if (sign and number) or exponent < -255 or number > 0xFFFFFFFF:
        raise ValueError(f"a table holds decimals from 0 to 4294967295 with up to 255 places, not {value}")
    put_octet(out, -exponent)
    put_long(out, number)


def seconds_of(value: datetime) -> int:
    """Whole seconds since 1970; a time without a zone is taken as UTC, as pika and pamqp do."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return int(value.timestamp())
