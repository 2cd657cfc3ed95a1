"""Field tables and field arrays, read and written (AMQP 0-9-1, section 4.2.5.5; types in field.py).

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
    return read_fields(reader, 1, True)


def enter(reader: Reader, depth: i64) -> i64:
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
    reader.end = enter(reader, depth)
    table: dict[str, object] = {}
    while reader.pos < reader.end:
        name = reader.shortstr()
        value = read_plain(reader, reader.octet(), depth)
        if name not in table:
            table[name] = value
    reader.end = outer
    return table


def read_plain(reader: Reader, type_byte: i64, depth: i64) -> object:
    if type_byte == TABLE:
        return _read_plain_table(reader, depth + 1)
    if type_byte == ARRAY:
        outer = reader.end
        reader.end = enter(reader, depth + 1)
        array: list[object] = []
        while reader.pos < reader.end:
            array.append(read_plain(reader, reader.octet(), depth + 1))
        reader.end = outer
        return array
    return read_scalar(reader, type_byte)


def read_fields(reader: Reader, depth: i64, named: bool) -> list[Field]:
    """A table's fields, or with `named` false the elements of an array."""
    outer = reader.end
    reader.end = enter(reader, depth)
    fields: list[Field] = []
    while reader.pos < reader.end:
        name = reader.shortstr() if named else ""
        type_byte = reader.octet()
        value: object
        if type_byte == TABLE or type_byte == ARRAY:
            value = read_fields(reader, depth + 1, type_byte == TABLE)
        else:
            value = read_scalar(reader, type_byte)
        fields.append(Field(name, int(type_byte), value))
    reader.end = outer
    return fields


def read_scalar(reader: Reader, type_byte: i64) -> object:
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
        return finite(read_f64_be(reader.data, reader.take(8)))
    if type_byte == FLOAT:
        return finite(read_f32_be(reader.data, reader.take(4)))
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


def finite(value: float) -> float:
    if not isfinite(value):
        raise MalformedFrame(f"a table has the floating point number {value}")
    return value


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
