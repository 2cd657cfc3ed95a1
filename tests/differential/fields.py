"""Field tables and the properties of a message with the types they have on the wire (AMQP 0-9-1, 4.2.5).

Written on its own, neither with the broker's code nor with a client's: both lose types. What is decoded is made of
plain lists and dicts: a table's value is `[letter, value]`.
"""

from __future__ import annotations

import struct
from typing import Any

from .scenario import Typed

_NUMBERS = {
    "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q",
    "f": ">f", "d": ">d", "T": ">Q", "t": ">?",
}  # fmt: skip

# name and type of each property, in the order of their flags from the highest bit down
PROPERTIES = (
    ("content_type", "s"), ("content_encoding", "s"), ("headers", "F"), ("delivery_mode", "B"),
    ("priority", "B"), ("correlation_id", "s"), ("reply_to", "s"), ("expiration", "s"), ("message_id", "s"),
    ("timestamp", "T"), ("type", "s"), ("user_id", "s"), ("app_id", "s"), ("cluster_id", "s"),
)  # fmt: skip


def encode_table(table: dict[str, Any]) -> bytes:
    inner = b"".join(_short(key) + _encode(value) for key, value in table.items())
    return struct.pack(">I", len(inner)) + inner


def _short(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">B", len(data)) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def letter_of(value: object) -> str:
    """The type that a plain value gets."""
    if isinstance(value, bool):
        return "t"
    if isinstance(value, int):
        return "I" if -(1 << 31) <= value < 1 << 31 else "l"
    for kind, letter in ((float, "d"), (str, "S"), (bytes, "x"), (list, "A"), (dict, "F")):
        if isinstance(value, kind):
            return letter
    assert value is None, value
    return "V"


def _encode(value: Any) -> bytes:
    letter = value.letter if isinstance(value, Typed) else letter_of(value)
    value = value.value if isinstance(value, Typed) else value
    head = letter.encode()
    if letter in _NUMBERS:
        return head + struct.pack(_NUMBERS[letter], value)
    if letter == "S" or letter == "x":
        return head + _long(value.encode() if isinstance(value, str) else value)
    if letter == "A":
        return head + _long(b"".join(_encode(each) for each in value))
    if letter == "F":
        return head + encode_table(value)
    if letter == "D":
        return head + struct.pack(">BI", *value)
    assert letter == "V", letter
    return head


def encode_properties(properties: dict[str, Any]) -> bytes:
    """The flags word and the property list (4.2.6.1)."""
    flags, pieces = 0, b""
    assert not set(properties) - {name for name, _ in PROPERTIES}, properties
    for index, (name, kind) in enumerate(PROPERTIES):
        if name not in properties:
            continue
        flags |= 1 << (15 - index)
        value = properties[name]
        if kind == "s":
            pieces += _short(value)
        elif kind == "F":
            pieces += encode_table(value)
        else:
            pieces += struct.pack(_NUMBERS[kind], value)
    return struct.pack(">H", flags) + pieces


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, form: str) -> Any:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def bytes(self, count: int) -> bytes:
        value = self.data[self.at : self.at + count]
        assert len(value) == count, "cut short"
        self.at += count
        return value

    def text(self, form: str) -> str:
        return self.bytes(self.number(form)).decode(errors="backslashreplace")

    def table(self) -> dict[str, Any]:
        end = self.number(">I") + self.at
        found: dict[str, Any] = {}
        while self.at < end:
            key = self.text(">B")
            while key in found:
                key += " (again)"
            found[key] = self.value()
        return found

    def value(self) -> list[Any]:
        letter = self.bytes(1).decode("latin-1")
        if letter in _NUMBERS:
            return [letter, self.number(_NUMBERS[letter])]
        if letter == "S" or letter == "x":
            return [letter, self.text(">I")]
        if letter == "F":
            return [letter, self.table()]
        if letter == "A":
            end = self.number(">I") + self.at
            values = []
            while self.at < end:
                values.append(self.value())
            return [letter, values]
        if letter == "D":
            return [letter, [self.number(">B"), self.number(">I")]]
        assert letter == "V", letter
        return [letter, None]


def decode_properties(data: bytes) -> dict[str, Any]:
    reader = _Reader(data)
    flags = reader.number(">H")
    found: dict[str, Any] = {}
    for index, (name, kind) in enumerate(PROPERTIES):
        if not flags & 1 << (15 - index):
            continue
        if kind == "s":
            found[name] = reader.text(">B")
        elif kind == "F":
            found[name] = reader.table()
        else:
            found[name] = reader.number(_NUMBERS[kind])
    assert reader.at == len(data), "bytes are left over"
    return found
