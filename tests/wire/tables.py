"""Field tables as values and as bytes, for the tests of this folder. Bytes are after RabbitMQ's parser."""

from __future__ import annotations

import struct
from decimal import Decimal

from leveret.wire.field import Field, Timestamp


def table(*fields: bytes) -> bytes:
    body = b"".join(fields)
    return struct.pack(">I", len(body)) + body


def longstr(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


# type byte, bytes of the value, Python value (the same in both forms), RabbitMQ's name
SCALARS: list[tuple[str, bytes, object, str]] = [
    ("t", b"\x01", True, "bool"),
    ("t", b"\x00", False, "bool"),
    ("b", b"\x80", -128, "byte"),
    ("b", b"\x7f", 127, "byte"),
    ("B", b"\xff", 255, "unsignedbyte"),
    ("s", b"\x80\x00", -32768, "short"),
    ("u", b"\xff\xfe", 65534, "unsignedshort"),
    ("I", b"\xff\xff\xff\xff", -1, "signedint"),
    ("I", b"\x00\x00\x00\x0a", 10, "signedint"),
    ("i", b"\xff\xff\xff\xff", 4294967295, "unsignedint"),
    ("l", b"\x80" + b"\x00" * 7, -(1 << 63), "long"),
    ("l", b"\x00\x00\x00\x01\x00\x00\x00\x00", 1 << 32, "long"),
    ("L", b"\xff" * 8, -1, "long"),
    ("f", b"\x3f\xc0\x00\x00", 1.5, "float"),
    ("d", b"\xbf\xf0" + b"\x00" * 6, -1.0, "double"),
    ("D", b"\x02\x00\x00\x00\x6e", Decimal("1.10"), "decimal"),
    ("D", b"\x00\xff\xff\xff\xff", Decimal(4294967295), "decimal"),
    ("D", b"\xff\x00\x00\x00\x01", Decimal((0, (1,), -255)), "decimal"),
    ("S", longstr(b""), "", "longstr"),
    ("S", longstr("zoë".encode()), "zoë", "longstr"),
    ("S", longstr(b"\xff\x80"), "\udcff\udc80", "longstr"),
    ("x", longstr(b"\x00\xff"), b"\x00\xff", "binary"),
    ("T", b"\x00" * 8, Timestamp(0), "timestamp"),
    ("T", b"\xff" * 8, Timestamp((1 << 64) - 1), "timestamp"),
    ("V", b"", None, "void"),
    ("A", table(), [], "array"),
]

NESTED_BYTES = table(
    b"\x01aS" + longstr(b"x"),
    b"\x01bF" + table(b"\x00A" + table(b"V", b"t\x01", b"F" + table(b"\x01cb\xff"))),
    b"\x01aI\x00\x00\x00\x07",
)
NESTED_VALUE: dict[str, object] = {"a": "x", "b": {"": [None, True, {"c": -1}]}}
NESTED_FIELDS = [
    Field("a", ord("S"), "x"),
    Field(
        "b",
        ord("F"),
        [
            Field(
                "",
                ord("A"),
                [
                    Field("", ord("V"), None),
                    Field("", ord("t"), True),
                    Field("", ord("F"), [Field("c", ord("b"), -1)]),
                ],
            )
        ],
    ),
    Field("a", ord("I"), 7),
]
EVERY_TYPE = table(*[f"\x03k{n:02d}{kind}".encode() + value for n, (kind, value, _, _) in enumerate(SCALARS)])
