"""Finding one field of a table, and what headers ask for. (What is malformed is tested with test_table.py's tables.)"""

from __future__ import annotations

import pytest

from leveret.errors import MalformedFrame
from leveret.wire.buffer import Reader
from leveret.wire.find import HAS_COPIES, HAS_TERMS, check_table, field_end, find_field, table_end, value_at
from leveret.wire.table import encode_table

from .tables import EVERY_TYPE, NESTED_BYTES, NESTED_VALUE, SCALARS, longstr, table

ASKING = [
    ("CC", HAS_COPIES),
    ("BCC", HAS_COPIES),
    ("cc", 0),
    ("BC", 0),
    ("x-delay", HAS_TERMS),
    ("x-delays", 0),
    ("x-delivery-count", 0),
    ("x-deliver-at", HAS_TERMS),
    ("x-deliver-after", HAS_TERMS),
    ("x-retry", HAS_TERMS),
    ("x-retry-count", 0),
    ("x-death", 0),
    ("x-r", 0),
    ("y-delay", 0),
]


@pytest.mark.parametrize(("name", "asks"), ASKING)
def test_what_headers_ask_is_told_by_their_names(name: str, asks: int) -> None:
    assert check_table(Reader(encode_table({"a": 1, name: 2, "b": None}))) == asks
    assert check_table(Reader(encode_table({"a": {name: 2}, "b": [{name: 1}]}))) == 0


def test_what_several_headers_ask_is_told_together() -> None:
    assert check_table(Reader(encode_table({"x-delay": 1, "CC": []}))) == HAS_COPIES | HAS_TERMS


def test_one_field_is_found_and_read_alone() -> None:
    for kind, data, value, _ in SCALARS:
        before = table(b"\x01j" + kind.encode() + data + b"\x01k" + kind.encode() + data + b"\x02kkV")
        type_at = find_field(b"##" + before + b"#", 2, -1, b"k")
        assert value_at(b"##" + before + b"#", type_at, len(before) + 2) == value
        assert find_field(before, 0, -1, b"kkk") == -1
    assert (
        value_at(NESTED_BYTES, find_field(NESTED_BYTES, 0, -1, b"b"), len(NESTED_BYTES)) == NESTED_VALUE["b"]
    )


def test_a_field_with_a_name_of_no_bytes_is_found() -> None:
    data = table(b"\x01aV" + b"\x00S" + longstr(b"x"))
    assert value_at(data, find_field(data, 0, -1, b""), len(data)) == "x"


@pytest.mark.parametrize(("kind", "data"), [row[:2] for row in SCALARS] + [("F", table(b"\x01kV"))])
def test_a_field_ends_where_its_value_does(kind: str, data: bytes) -> None:
    field = kind.encode() + data
    assert field_end(b"#" + field + b"#", 1, len(field) + 1) == len(field) + 1
    for end in range(1, len(field)):
        with pytest.raises(MalformedFrame):
            field_end(field, 0, end)


def test_a_table_ends_within_its_data() -> None:
    assert table_end(b"#" + EVERY_TYPE + b"#", 1, -1) == len(EVERY_TYPE) + 1
    for pos, end in ((0, len(EVERY_TYPE) - 1), (-1, -1), (len(EVERY_TYPE) - 3, -1), (0, len(EVERY_TYPE) + 1)):
        with pytest.raises(MalformedFrame):
            table_end(EVERY_TYPE, pos, end)
