"""Single fields of every type, there and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from leveret.wire.field import Field, Timestamp, type_byte_of, type_name_of


@pytest.mark.parametrize(
    ("value", "kind", "name"),
    [
        ("text", "S", "longstr"),
        (True, "t", "bool"),
        (0, "I", "signedint"),
        (-(1 << 31), "I", "signedint"),
        ((1 << 31) - 1, "I", "signedint"),
        (1 << 31, "l", "long"),
        (-(1 << 31) - 1, "l", "long"),
        ((1 << 63) - 1, "l", "long"),
        (1.0, "d", "double"),
        (b"", "x", "binary"),
        (bytearray(), "x", "binary"),
        (datetime(2020, 1, 1, tzinfo=UTC), "T", "timestamp"),
        (Timestamp(1), "T", "timestamp"),
        (Decimal(1), "D", "decimal"),
        (None, "V", "void"),
        ([], "A", "array"),
        ((), "A", "array"),
        ({}, "F", "table"),
    ],
)
def test_the_type_of_a_plain_value(value: object, kind: str, name: str) -> None:
    assert chr(type_byte_of(value)) == kind
    assert type_name_of(value) == name


def test_values_without_a_type_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot hold a complex"):
        type_byte_of(1j)
    for value in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(ValueError, match="does not fit"):
            type_byte_of(value)


def test_timestamps() -> None:
    assert Timestamp(5) == Timestamp(5) != Timestamp(6)
    assert Timestamp(5) != 5
    assert len({Timestamp(5), Timestamp(5)}) == 1
    assert repr(Timestamp(5)) == "Timestamp(5)"
    assert Timestamp(1577836800).as_datetime() == datetime(2020, 1, 1, tzinfo=UTC)
    for seconds in (-1, 1 << 64):
        with pytest.raises(ValueError):
            Timestamp(seconds)
    with pytest.raises((OverflowError, ValueError)):
        Timestamp((1 << 64) - 1).as_datetime()


def test_fields() -> None:
    assert Field("a", ord("b"), 1) == Field("a", ord("b"), 1)
    assert Field("a", ord("b"), 1) != Field("a", ord("B"), 1)
    assert Field("a", ord("I"), 1).type_name() == "signedint"
    assert repr(Field("a", ord("I"), 1)) == "Field('a', 'I', 1)"
    with pytest.raises(ValueError, match="85 is not the type byte"):
        Field("a", ord("U"), 1)
