"""What the core may ask of a message that came by AMQP 0-9-1 (core/view.py)."""

from __future__ import annotations

from librt.strings import BytesWriter, read_i32_be

from leveret.core.destination import Table
from leveret.core.view import View, register
from leveret.message import AMQP091, Message
from leveret.native import i64
from leveret.protocol.amqp091.content import PROPERTIES, expiration_ms, properties_of
from leveret.wire import properties as wire
from leveret.wire.frames import content_header


def header_end(m: Message) -> i64:
    return 7 + i64(read_i32_be(m.data, 3))


class AmqpView(View):
    def headers(self, m: Message) -> Table:
        found = wire.headers_at(m.data, PROPERTIES, header_end(m))
        return {} if found is None else found

    def header(self, m: Message, name: str) -> object | None:
        return self.headers(m).get(name)

    def key_of(self, m: Message, name: str) -> bytes:
        value = self.headers(m).get(name)
        return b"" if value is None else repr(value).encode()

    def message_id(self, m: Message) -> bytes:
        found = wire.message_id_at(m.data, PROPERTIES, header_end(m))
        return b"" if found is None else found.encode("utf-8", "surrogateescape")

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
        channel = (i64(m.data[1]) << 8) | i64(m.data[2])
        out = BytesWriter()
        content_header(out, channel, m.size_bytes, wire.encode_properties(properties))
        out.write(m.data[header_end(m) + 1 :])
        return Message(out.getvalue(), m.route, m.size_bytes, m.persistent, m.protocol)

    def delivery(self, m: Message, extra: Table) -> Message:
        headers = self.headers(m)
        headers.update(extra)
        return self.with_headers(m, headers, False)


register(AMQP091, AmqpView())
