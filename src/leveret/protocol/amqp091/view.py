"""What the core may ask of a message that came by AMQP 0-9-1 (core/view.py).

Headers are found by stepping over the ones before, and changed where they stand. A dead letter's content header frame
bears channel number 0, which no publisher's content can: so it is known that its `x-death` is this broker's own. Its
`CC` stands behind `x-death` if it counts no more as routing keys. (A delivery puts the consumer's channel number in.)
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_f32_be, read_f64_be, read_i16_be, read_i32_be, write_f64_be

from leveret.core.destination import Table
from leveret.core.view import View, register
from leveret.message import AMQP091, Message
from leveret.native import i64, u8
from leveret.protocol.amqp091.content import PROPERTIES, expiration_ms, properties_of
from leveret.wire import properties as wire
from leveret.wire.buffer import patch_long
from leveret.wire.field import BINARY, BOOL, DOUBLE, FLOAT, LONG_STRING, SIGNED_INT, VOID
from leveret.wire.find import field_end, fields_like, find_field, only_like, value_at
from leveret.wire.splice import Names, splice_fields
from leveret.wire.table import put_field

DEATH: Final = b"x-death"
AFTER: Final = b"x-deliver-after"
AFTER_FIELD: Final = b"\x0fx-deliver-after"
TIMES: Final = b"x-del"  # how the names begin of headers that say when a message is due


def header_end(m: Message) -> i64:
    """Where the payload of the header frame ends."""
    return 7 + i64(read_i32_be(m.data, 3))


def find_header(m: Message, name: bytes) -> i64:
    """Where the type byte of a header is, -1 if there is none."""
    data = m.data
    end = header_end(m)
    at = wire.find_property(data, PROPERTIES, end, wire.HEADERS)
    return -1 if at < 0 else find_field(data, at, end, name)


class AmqpView(View):
    def __init__(self) -> None:
        self.name = ""  # the header asked for last
        self.raw_name = b""

    def _raw(self, name: str) -> bytes:
        """A header's name as it is on the wire. Mostly the same one is asked for again and again."""
        if name is not self.name:
            self.name = name
            self.raw_name = name.encode("utf-8", "surrogateescape")
        return self.raw_name

    def headers(self, m: Message) -> Table:
        found = wire.headers_at(m.data, PROPERTIES, header_end(m))
        return {} if found is None else found

    def properties(self, m: Message) -> wire.Properties:
        return properties_of(m)

    def body(self, m: Message) -> bytes:
        return body_of(m.data, header_end(m) + 1)

    def delay_ms(self, m: Message) -> i64:
        end = header_end(m)
        at = wire.find_property(m.data, PROPERTIES, end, wire.HEADERS)
        if at < 0:
            return -1
        type_at = only_like(m.data, at, end, TIMES)
        if type_at < 0 or i64(m.data[type_at]) != SIGNED_INT:
            return -1
        if m.data[type_at - i64(len(AFTER)) - 1 : type_at] != AFTER_FIELD:
            return -1
        return i64(read_i32_be(m.data, type_at + 1))

    def times(self, m: Message) -> Table:
        end = header_end(m)
        at = wire.find_property(m.data, PROPERTIES, end, wire.HEADERS)
        return {} if at < 0 else fields_like(m.data, at, end, TIMES)

    def header(self, m: Message, name: str) -> object | None:
        type_at = find_header(m, self._raw(name))
        return None if type_at < 0 else value_at(m.data, type_at, header_end(m))

    def key_of(self, m: Message, name: str) -> bytes:
        type_at = find_header(m, self._raw(name))
        return b"" if type_at < 0 else key_at(m.data, type_at, header_end(m))

    def message_id(self, m: Message) -> bytes:
        data = m.data
        at = wire.find_property(data, PROPERTIES, header_end(m), wire.MESSAGE_ID)
        return b"" if at < 0 else data[at + 1 : at + 1 + i64(data[at])]

    def property(self, m: Message, name: str) -> str:
        found: object = None
        if name == "message_id":
            found = wire.message_id_at(m.data, PROPERTIES, header_end(m))
        elif name == "correlation_id":
            found = wire.correlation_id_at(m.data, PROPERTIES, header_end(m))
        elif name == "timestamp":
            found = wire.timestamp_at(m.data, PROPERTIES, header_end(m))
        return "" if found is None else str(found)

    def priority(self, m: Message) -> i64:
        return wire.priority_at(m.data, PROPERTIES, header_end(m))

    def ttl_ms(self, m: Message) -> i64:
        return expiration_ms(m)

    def with_headers(self, m: Message, headers: Table, drop_expiration: bool) -> Message:
        properties = properties_of(m)
        properties.headers = headers if headers else None
        if drop_expiration:
            properties.expiration = None
        return with_properties(m, wire.encode_properties(properties))

    def delivery(self, m: Message, extra: Table) -> Message:
        names: set[bytes] = set()
        fields = BytesWriter()
        for name, value in extra.items():
            names.add(name.encode("utf-8", "surrogateescape"))
            put_field(fields, name, value)
        return self.with_fields(m, fields.getvalue(), Names(names))

    def with_fields(self, m: Message, fields: bytes, names: Names) -> Message:
        data = m.data
        end = header_end(m)
        out = splice_fields(data, PROPERTIES, end, names, fields, False)
        patch_long(out, 3, end - 7 + i64(len(out)) - i64(len(data)))
        return Message(out.getvalue(), m.route, m.size_bytes, m.persistent, m.protocol)

    def is_bare(self, m: Message) -> bool:
        return i64(read_i16_be(m.data, PROPERTIES)) & (wire.HEADERS | wire.EXPIRATION) == 0

    def deaths(self, m: Message) -> bytes:
        data = m.data
        if not is_own(data):
            return b""
        type_at = find_header(m, DEATH)
        if type_at < 0:
            return b""
        return data[type_at + 5 : field_end(data, type_at, header_end(m))]

    def copy_keys(self, m: Message) -> list[str] | None:
        type_at = find_header(m, b"CC")
        if type_at < 0:
            return None
        data = m.data
        if is_own(data) and 0 <= find_header(m, DEATH) < type_at:
            return None
        named = value_at(data, type_at, header_end(m))
        if not isinstance(named, list):
            return None
        return [key for key in named if isinstance(key, str)]

    def dead_letter(self, m: Message, route: bytes, fields: bytes, names: Names, new_key: bool) -> Message:
        data = m.data
        end = header_end(m)
        if new_key:
            type_at = find_header(m, b"CC")
            if type_at >= 0:
                fields += data[type_at - 3 : field_end(data, type_at, end)]
                changed = data[:PROPERTIES] + wire.without_header(data, PROPERTIES, end, b"CC")
                data = changed + data[end:]
                end = i64(len(changed))
        out = splice_fields(data, PROPERTIES, end, names, fields, True)
        out[1] = u8(0)
        out[2] = u8(0)
        patch_long(out, 3, end - 7 + i64(len(out)) - i64(len(data)))
        return Message(out.getvalue(), route, m.size_bytes, m.persistent, m.protocol)


def body_of(data: bytes, at: i64) -> bytes:
    """What body frames from `at` on carry."""
    size: i64 = len(data)
    if at >= size:
        return b""
    length: i64 = i64(read_i32_be(data, at + 3))
    if at + length + 8 == size:
        return data[at + 7 : at + 7 + length]
    parts: list[bytes] = []
    while at < size:
        length = i64(read_i32_be(data, at + 3))
        parts.append(data[at + 7 : at + 7 + length])
        at += length + 8
    return b"".join(parts)


def is_own(data: bytes) -> bool:
    """Whether a dead letter of this broker begins here."""
    return i64(data[1]) == 0 and i64(data[2]) == 0


def with_properties(m: Message, properties: bytes) -> Message:
    """The same content, with other properties in its header frame."""
    data = m.data
    out = BytesWriter()
    out.write(data[:PROPERTIES])
    out.write(properties)
    patch_long(out, 3, i64(len(out)) - 7)
    out.write(data[header_end(m) :])
    return Message(out.getvalue(), m.route, m.size_bytes, m.persistent, m.protocol)


def key_at(data: bytes, type_at: i64, end: i64) -> bytes:
    """A field's value as a key: a text's bytes, or 0, a letter and the value in a form that all equal ones have."""
    kind: i64 = i64(data[type_at])
    if kind == LONG_STRING or kind == BINARY:
        size = i64(read_i32_be(data, type_at + 1)) & 0xFFFFFFFF
        raw = data[type_at + 5 : type_at + 5 + size]
        return b"\0S" + raw if size > 0 and i64(raw[0]) == 0 else raw
    if kind == VOID:
        return b""
    if kind == BOOL:
        return b"\0t1" if i64(data[type_at + 1]) != 0 else b"\0t0"
    if kind == FLOAT or kind == DOUBLE:
        out = BytesWriter()
        write_f64_be(out, read_f32_be(data, type_at + 1) if kind == FLOAT else read_f64_be(data, type_at + 1))
        return b"\0d" + out.getvalue()
    value = value_at(data, type_at, end)
    if isinstance(value, int):
        return b"\0i" + str(value).encode()
    return b"\0" + data[type_at : field_end(data, type_at, end)]  # with its type: A, D, F, T


register(AMQP091, AmqpView())
