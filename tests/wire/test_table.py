"""Field tables: as RabbitMQ and pamqp read and write them, and with limits."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext

import pamqp.decode
import pamqp.encode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from leveret.errors import MalformedFrame
from leveret.limits import TABLE_DEPTH, TABLE_SIZE_BYTES
from leveret.wire.buffer import Reader
from leveret.wire.field import Field, Timestamp
from leveret.wire.find import check_table, field_of, find_field, type_of
from leveret.wire.table import (
    decode_table,
    decode_typed_table,
    encode_table,
    encode_typed_table,
    put_field,
)

from .tables import EVERY_TYPE, NESTED_BYTES, NESTED_FIELDS, NESTED_VALUE, SCALARS, longstr, table


@pytest.mark.parametrize(("kind", "data", "value", "name"), SCALARS)
def test_every_type_in_a_table_and_in_an_array(kind: str, data: bytes, value: object, name: str) -> None:
    in_table = table(b"\x01k" + kind.encode() + data)
    assert decode_table(in_table) == {"k": value}
    assert type(decode_table(in_table)["k"]) is type(value)
    assert decode_typed_table(in_table) == [Field("k", ord(kind), value)]
    assert encode_typed_table(decode_typed_table(in_table)) == in_table
    assert type_of(in_table, "k") == name
    assert field_of(in_table, "k") == Field("k", ord(kind), value)

    in_array = table(b"\x01kA" + table(kind.encode() + data))
    assert decode_table(in_array) == {"k": [value]}
    assert encode_typed_table(decode_typed_table(in_array)) == in_array
    for checked in (in_table, in_array):
        check_table(Reader(checked))


def test_nested_tables() -> None:
    assert decode_table(NESTED_BYTES) == NESTED_VALUE
    assert decode_typed_table(NESTED_BYTES) == NESTED_FIELDS
    assert encode_typed_table(NESTED_FIELDS) == NESTED_BYTES


@pytest.mark.parametrize("data", [EVERY_TYPE, NESTED_BYTES, table()])
def test_bytes_around_a_table_are_not_looked_at(data: bytes) -> None:
    assert decode_table(b"\xff\xff" + data + b"\xff", 2) == decode_table(data)
    assert decode_typed_table(b"\xff\xff" + data + b"\xff", 2) == decode_typed_table(data)
    reader = Reader(data + b"\xff")
    check_table(reader)
    assert reader.remaining() == 1


@pytest.mark.parametrize("data", [EVERY_TYPE, NESTED_BYTES])
def test_a_table_that_is_cut_anywhere_is_malformed(data: bytes) -> None:
    for size in range(len(data)):
        for cut, end in ((data[:size], -1), (data, size)):
            with pytest.raises(MalformedFrame):
                decode_table(cut, 0, end)
            with pytest.raises(MalformedFrame):
                decode_typed_table(cut, 0, end)
            with pytest.raises(MalformedFrame):
                check_table(Reader(cut, 0, end))
            with pytest.raises(MalformedFrame):
                find_field(cut, 0, end, b"none")


@pytest.mark.parametrize("data", [EVERY_TYPE, NESTED_BYTES])
def test_a_table_whose_length_is_too_small_is_malformed_or_shorter(data: bytes) -> None:
    whole = decode_typed_table(data)
    for size in range(len(data) - 4):
        shorter = struct.pack(">I", size) + data[4:]
        try:
            fields = decode_typed_table(shorter)
        except MalformedFrame:
            with pytest.raises(MalformedFrame):
                decode_table(shorter)
            with pytest.raises(MalformedFrame):
                check_table(Reader(shorter))
        else:
            assert fields == whole[: len(fields)]
            check_table(Reader(shorter))


@pytest.mark.parametrize("unknown", [0, ord("U"), ord("c"), ord("C"), ord("Z"), 255])
def test_an_unknown_type_is_named(unknown: int) -> None:
    for data in (table(b"\x01k" + bytes([unknown]) + b"\0" * 8), table(b"\x01kA" + table(bytes([unknown])))):
        for read in (decode_table, decode_typed_table, lambda d: check_table(Reader(d))):
            with pytest.raises(MalformedFrame, match=f"unknown type {unknown}"):
                read(data)


@pytest.mark.parametrize("number", [b"f\x7f\xc0\x00\x00", b"f\xff\x80\x00\x00", b"d\x7f\xf8" + b"\0" * 6])
def test_numbers_that_are_none_are_refused_as_in_rabbitmq(number: bytes) -> None:
    data = table(b"\x01k" + number)
    for read in (decode_table, decode_typed_table, lambda d: check_table(Reader(d))):
        with pytest.raises(MalformedFrame, match="floating point"):
            read(data)


def test_of_fields_with_one_name_the_first_counts() -> None:
    data = table(b"\x01ab\x01", b"\x01aI\x00\x00\x00\x02")
    assert decode_table(data) == {"a": 1}
    assert field_of(data, "a") == Field("a", ord("b"), 1)
    assert len(decode_typed_table(data)) == 2


def test_a_field_that_is_not_there() -> None:
    data = table(b"\x02abF" + table(b"\x01ct\x01"))
    assert find_field(data, 0, -1, b"c") == -1
    assert field_of(data, "c") is None
    assert type_of(data, "c") == ""
    assert type_of(table(), "") == ""


def nested(kind: str, depth: int) -> bytes:
    data = table()
    for _ in range(depth - 1):
        data = table((b"\x00" if kind == "F" else b"") + kind.encode() + data)
    return data


@pytest.mark.parametrize("kind", ["F", "A"])
def test_depth_is_bounded(kind: str) -> None:
    deepest = nested(kind, TABLE_DEPTH - 1)
    data = table(b"\x01k" + kind.encode() + deepest)
    too_deep = table(b"\x01k" + kind.encode() + nested(kind, TABLE_DEPTH))
    assert encode_table(decode_table(data)) == data
    assert encode_typed_table(decode_typed_table(data)) == data
    check_table(Reader(data))
    for read in (decode_table, decode_typed_table, lambda d: check_table(Reader(d))):
        with pytest.raises(MalformedFrame, match="deep"):
            read(too_deep)
    value: object = {} if kind == "F" else []
    for _ in range(TABLE_DEPTH):
        value = {"": value} if kind == "F" else [value]
    with pytest.raises(ValueError, match="deep"):
        encode_table({"k": value})
    itself: list[object] = []
    itself.append(itself)
    with pytest.raises(ValueError, match="deep"):
        encode_table({"k": itself})


def test_size_is_bounded() -> None:
    fits = b"\x00S" + longstr(b"x" * (TABLE_SIZE_BYTES - 6))
    assert len(decode_table(table(fits))) == 1
    for read in (decode_table, decode_typed_table, lambda d: check_table(Reader(d))):
        with pytest.raises(MalformedFrame, match="are allowed"):
            read(table(fits, b"\x00V"))
    with pytest.raises(ValueError, match="are allowed"):
        encode_table({"": "x" * (TABLE_SIZE_BYTES - 5)})


PLAIN: list[tuple[dict[str, object], bytes]] = [
    ({}, table()),
    ({"a": "é", "b": b"\xff"}, table(b"\x01aS" + longstr("é".encode()), b"\x01bx" + longstr(b"\xff"))),
    (
        {"a": True, "b": 1, "c": 1 << 31},
        table(b"\x01at\x01", b"\x01bI\0\0\0\x01", b"\x01cl\0\0\0\0\x80\0\0\0"),
    ),
    ({"a": 0.5, "b": None}, table(b"\x01ad\x3f\xe0" + b"\0" * 6, b"\x01bV")),
    ({"a": Decimal("12.50")}, table(b"\x01aD\x02\x00\x00\x04\xe2")),
    ({"a": Decimal("1E2")}, table(b"\x01aD\x00\x00\x00\x00\x64")),
    ({"a": datetime(1970, 1, 1, 0, 1)}, table(b"\x01aT" + b"\0" * 7 + b"\x3c")),
    ({"a": datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, table(b"\x01aT" + b"\0" * 8)),
    ({"a": ["x", [], {}]}, table(b"\x01aA" + table(b"S" + longstr(b"x"), b"A" + table(), b"F" + table()))),
]


@pytest.mark.parametrize(("value", "data"), PLAIN)
def test_plain_values_are_written_with_the_usual_types(value: dict[str, object], data: bytes) -> None:
    assert encode_table(value) == data


@pytest.mark.parametrize(
    "value",
    [
        1 << 63,
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("-1"),
        Decimal("1E-256"),
        Decimal("1E+999999"),
        Decimal(1 << 32),
        datetime(1969, 12, 31, tzinfo=UTC),
    ],
)
def test_values_that_no_type_can_hold_are_a_value_error(value: object) -> None:
    with pytest.raises(ValueError):
        encode_table({"k": value})


def test_what_is_no_value_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cannot hold a object"):
        encode_table({"k": object()})
    with pytest.raises(ValueError, match="short string"):
        encode_table({"k" * 256: 1})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("b", 128),
        ("b", -129),
        ("B", -1),
        ("B", 256),
        ("s", 32768),
        ("u", -1),
        ("u", 65536),
        ("I", 1 << 31),
        ("i", 1 << 32),
        ("i", -1),
        ("l", 1 << 63),
        ("L", -(1 << 63) - 1),
        ("f", 1e39),
        ("d", float("nan")),
    ],
)
def test_a_typed_number_that_does_not_fit_is_a_value_error(kind: str, value: object) -> None:
    with pytest.raises(ValueError):
        encode_typed_table([Field("k", ord(kind), value)])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("S", 1),
        ("S", b"x"),
        ("t", 1),
        ("I", True),
        ("V", 0),
        ("x", "x"),
        ("T", 1),
        ("F", {}),
        ("A", None),
        ("d", 1),
    ],
)
def test_a_typed_value_of_another_type_is_a_type_error(kind: str, value: object) -> None:
    with pytest.raises(TypeError, match="cannot hold a"):
        encode_typed_table([Field("k", ord(kind), value)])


def test_decimals_do_not_depend_on_the_programs_context() -> None:
    data = table(b"\x01kD\x09\xff\xff\xff\xff")
    with localcontext() as context:
        context.prec = 2
        assert encode_table(decode_table(data)) == data


texts = st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape"))
names = texts.filter(lambda name: len(name.encode("utf-8", "surrogateescape")) < 256)
scalars = st.one_of(
    texts,
    st.binary(max_size=60),
    st.booleans(),
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, (1 << 64) - 1).map(Timestamp),
    st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 255)).map(
        lambda pair: Decimal((0, tuple(map(int, str(pair[0]))), -pair[1]))
    ),
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4))
)
plain_tables = st.dictionaries(names, values, max_size=6)


@given(plain_tables)
def test_plain_tables_come_back(value: dict[str, object]) -> None:
    data = encode_table(value)
    assert decode_table(data) == value
    assert encode_table(decode_table(data)) == data
    assert encode_typed_table(decode_typed_table(data)) == data
    check_table(Reader(data))
    for name, each in value.items():
        field = field_of(data, name)
        assert field is not None
        if not isinstance(each, (list, dict)):
            assert field.value == each


WAYS = (decode_table, decode_typed_table, lambda data: check_table(Reader(data)))


def complaint(read: Callable[[bytes], object], data: bytes) -> str:
    """What reading says is wrong; anything but MalformedFrame is a failure of the test."""
    try:
        read(data)
    except MalformedFrame as error:
        return error.text
    return ""


@given(st.binary(max_size=80))
def test_any_bytes_are_a_table_or_malformed_and_all_ways_agree(body: bytes) -> None:
    data = struct.pack(">I", len(body)) + body
    assert len({complaint(read, data) for read in WAYS}) == 1
    if not complaint(decode_table, data):
        assert set(decode_table(data)) == {field.name for field in decode_typed_table(data)}


@given(plain_tables, st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_table_is_malformed_or_a_table_and_all_ways_agree(
    value: dict[str, object], at: int, octet: int
) -> None:
    data = bytearray(encode_table(value))
    data[at % len(data)] = octet
    assert len({complaint(read, bytes(data)) for read in WAYS}) == 1


# pamqp as an independent oracle. It writes floats with 32 bits, reads decimals as signed and strings strictly, and
# knows no time beyond the calendar; what it cannot say is left to the tables above.
common = st.one_of(
    st.text(max_size=20),
    st.booleans(),
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.binary(max_size=20).map(bytearray),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
)
common_tables = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        common,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
    ),
    max_size=5,
)


def as_ours(value: object) -> object:
    if isinstance(value, dict):
        return {name: as_ours(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_ours(inner) for inner in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, datetime):
        return Timestamp(int(value.timestamp()))
    return value


@given(common_tables)
def test_pamqp_reads_what_we_write_and_the_other_way_round(value: dict[str, object]) -> None:
    assert decode_table(pamqp.encode.field_table(value)) == as_ours(value)  # type: ignore[arg-type]
    ours = encode_table(value)
    used, theirs = pamqp.decode.field_table(ours)
    assert used == len(ours)
    assert as_ours(theirs) == as_ours(value)


def test_a_field_put_alone_holds_numbers_in_64_bits() -> None:
    out = BytesWriter()
    put_field(out, "n", 1)
    put_field(out, "b", True)
    put_field(out, "s", "x")
    assert out.getvalue() == b"\x01nl" + b"\0" * 7 + b"\x01" + b"\x01bt\x01" + b"\x01sS\0\0\0\x01x"
