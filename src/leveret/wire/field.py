"""The types of values in field tables (AMQP 0-9-1, section 4.2.5.5), with the type bytes of RabbitMQ 4.3.

The specification's list of type bytes and what brokers and clients send have never agreed (RabbitMQ's errata
page tells the story). These are the types of `rabbit_binary_parser` and their signedness:

    byte  RabbitMQ's name   bytes            Python value
    t     bool              1                bool (anything but 0 is true)
    b B   byte unsignedbyte 1                int
    s u   short unsigned-   2                int
    I i   signedint unsig.. 4                int
    l L   long              8, both signed   int
    f d   float double      4, 8             float (not-a-number and infinity are refused: Erlang has none)
    D     decimal           1 + 4            Decimal: places, then an unsigned number
    S     longstr           4 + n            str (UTF-8, surrogateescape)
    x     binary            4 + n            bytes
    T     timestamp         8                Timestamp: seconds since 1970, unsigned
    A F   array table       4 + n            list, dict
    V     void              0                None

Knows how a value is represented, nothing of how it is read and written (table.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, final

from leveret.errors import MalformedFrame
from leveret.native import i64

ARRAY: Final = 65  # A
UNSIGNED_BYTE: Final = 66  # B
DECIMAL: Final = 68  # D
TABLE: Final = 70  # F
SIGNED_INT: Final = 73  # I
LONG_TOO: Final = 76  # L
LONG_STRING: Final = 83  # S
TIMESTAMP: Final = 84  # T
VOID: Final = 86  # V
BYTE: Final = 98  # b
DOUBLE: Final = 100  # d
FLOAT: Final = 102  # f
UNSIGNED_INT: Final = 105  # i
LONG: Final = 108  # l
SHORT: Final = 115  # s
BOOL: Final = 116  # t
UNSIGNED_SHORT: Final = 117  # u
BINARY: Final = 120  # x

TYPE_NAMES: Final[dict[int, str]] = {
    ARRAY: "array",
    UNSIGNED_BYTE: "unsignedbyte",
    DECIMAL: "decimal",
    TABLE: "table",
    SIGNED_INT: "signedint",
    LONG_TOO: "long",
    LONG_STRING: "longstr",
    TIMESTAMP: "timestamp",
    VOID: "void",
    BYTE: "byte",
    DOUBLE: "double",
    FLOAT: "float",
    UNSIGNED_INT: "unsignedint",
    LONG: "long",
    SHORT: "short",
    BOOL: "bool",
    UNSIGNED_SHORT: "unsignedshort",
    BINARY: "binary",
}


@final
class Timestamp:
    """Seconds since 1970 as they are on the wire: any unsigned 64-bit number, also one no calendar reaches."""

    def __init__(self, seconds: int) -> None:
        if seconds < 0 or seconds >= (1 << 64):
            raise ValueError(f"{seconds} does not fit a timestamp")
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.seconds == self.seconds

    def __hash__(self) -> int:
        return hash(("Timestamp", self.seconds))

    def __repr__(self) -> str:
        return f"Timestamp({self.seconds})"

    def as_datetime(self) -> datetime:
        """In UTC; `OverflowError` or `ValueError` beyond the year 9999."""
        return datetime.fromtimestamp(self.seconds, UTC)


@final
class Field:
    """One field with its type byte. A table's value is a list of fields, an array's one of fields without names."""

    def __init__(self, name: str, type_byte: int, value: object) -> None:
        if type_byte not in TYPE_NAMES:
            raise ValueError(f"{type_byte} is not the type byte of any field")
        self.name = name
        self.type_byte = type_byte
        self.value = value

    def type_name(self) -> str:
        return TYPE_NAMES[self.type_byte]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Field)
            and other.name == self.name
            and other.type_byte == self.type_byte
            and other.value == self.value
        )

    def __hash__(self) -> int:
        return hash((self.name, self.type_byte))

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {chr(self.type_byte)!r}, {self.value!r})"


def unknown_type(type_byte: i64) -> MalformedFrame:
    shown = f" ('{chr(type_byte)}')" if 32 < type_byte < 127 else ""
    return MalformedFrame(f"a table has a field of the unknown type {type_byte}{shown}")


def type_byte_of(value: object) -> int:
    """The type a plain value is written as: RabbitMQ's choice, and that of its Python clients."""
    if isinstance(value, str):
        return LONG_STRING
    if isinstance(value, bool):  # before int, of which it is a subclass
        return BOOL
    if isinstance(value, int):
        if -0x80000000 <= value <= 0x7FFFFFFF:
            return SIGNED_INT
        if -(1 << 63) <= value < (1 << 63):
            return LONG
        raise ValueError(f"{value} does not fit a 64-bit signed field")
    if value is None:
        return VOID
    if isinstance(value, dict):
        return TABLE
    if isinstance(value, (list, tuple)):
        return ARRAY
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, (bytes, bytearray)):
        return BINARY
    if isinstance(value, (Timestamp, datetime)):
        return TIMESTAMP
    if isinstance(value, Decimal):
        return DECIMAL
    raise TypeError(f"a table cannot hold a {type(value).__name__}")


def type_name_of(value: object) -> str:
    """RabbitMQ's name of that type: 'longstr', 'signedint', ..."""
    return TYPE_NAMES[type_byte_of(value)]
