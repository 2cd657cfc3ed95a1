"""Properties, headers and bodies come back as they were sent: byte for byte, whatever their type and size."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from pika import spec

from .broker import Address
from .clients import Inbox, connection, must_get
from .raw import Content, RawConnection, body_frame, header_frame, longstr, method_frame, publish, table

Fresh = Callable[..., str]


def there_and_back(address: Address, properties: bytes, body: bytes = b"body") -> Content:
    """Published as raw bytes on one connection, received on another channel number of another connection."""
    with RawConnection(address) as sender, RawConnection(address) as receiver:
        receiver.login().open_channel(300)
        queue = receiver.call(300, spec.Queue.Declare(exclusive=True)).queue
        receiver.call(300, spec.Basic.Consume(queue=queue, no_ack=True))
        sender.login().open_channel(1).send(publish(1, queue, body, properties))
        return receiver.read_content(300)


# every type of field that RabbitMQ reads (its rabbit_binary_parser): the letter and the value as bytes
FIELDS = {
    "bool true": b"t\x01",
    "bool false": b"t\x00",
    "signed 8": b"b\x80",
    "unsigned 8": b"B\xff",
    "signed 16": b"s\x80\x00",
    "unsigned 16": b"u\xff\xff",
    "signed 32": b"I\x80\x00\x00\x00",
    "unsigned 32": b"i\xff\xff\xff\xff",
    "signed 64": b"l\x80\0\0\0\0\0\0\0",
    "float": b"f" + struct.pack(">f", 0.1),
    "double": b"d" + struct.pack(">d", 0.1),
    "decimal": b"D\x02\0\0\x01\x3a",
    "long string": b"S" + longstr("grüße".encode()),
    "long string of no UTF-8": b"S" + longstr(b"\xff\xfe\x00"),
    "long string, empty": b"S" + longstr(b""),
    "byte array": b"x" + longstr(bytes(range(256))),
    "timestamp": b"T\0\0\0\0\x65\x53\xf1\x00",
    "timestamp far away": b"T\xff\xff\xff\xff\xff\xff\xff\xff",
    "void": b"V",
    "table": b"F" + table(inner=b"S" + longstr(b"x"), more=b"F" + table(deep=b"V")),
    "table, empty": b"F" + table(),
    "array": b"A" + longstr(b"t\x01" + b"I\0\0\0\x01" + b"S" + longstr(b"x") + b"A" + longstr(b"V")),
    "array, empty": b"A" + longstr(b""),
}


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_header_field(address: Address, field: bytes) -> None:
    properties = b"\x20\x00" + table(a=b"V", field=field, z=b"t\x01")  # in this order: RabbitMQ sorts by name
    assert there_and_back(address, properties).properties == properties


def test_all_header_fields_at_once(address: Address) -> None:
    names = {f"{number:02} {name}": value for number, (name, value) in enumerate(reversed(FIELDS.items()))}
    properties = b"\x20\x00" + table(**names)
    assert there_and_back(address, properties).properties == properties


@pytest.mark.parametrize("depth", [1, 10, 50])
def test_nested_tables(address: Address, depth: int) -> None:
    value = b"V"
    for _ in range(depth):
        value = b"F" + table(a=value)
    properties = b"\x20\x00" + table(nested=value)
    assert there_and_back(address, properties).properties == properties


# the properties of class basic in the order of their flags, highest bit first (AMQP 0-9-1, 1.8.3)
PROPERTIES = {
    "content-type": (15, b"\x0atext/plain"),
    "content-encoding": (14, b"\x05utf-8"),
    "headers": (13, table(key=b"S" + longstr(b"value"))),
    "delivery-mode": (12, b"\x02"),
    "priority": (11, b"\x09"),
    "correlation-id": (10, b"\x02id"),
    "reply-to": (9, b"\x05reply"),
    "message-id": (7, b"\x07message"),
    "timestamp": (6, b"\0\0\0\0\x65\x53\xf1\x00"),
    "type": (5, b"\x04type"),
    "user-id": (4, b"\x05guest"),
    "app-id": (3, b"\x03app"),
    "cluster-id": (2, b"\x07cluster"),
}


@pytest.mark.parametrize(("bit", "value"), PROPERTIES.values(), ids=PROPERTIES)
def test_property_alone(address: Address, bit: int, value: bytes) -> None:
    properties = struct.pack(">H", 1 << bit) + value
    assert there_and_back(address, properties).properties == properties


def test_all_properties_at_once(address: Address) -> None:
    flags = sum(1 << bit for bit, _ in PROPERTIES.values())
    properties = struct.pack(">H", flags) + b"".join(value for _, value in PROPERTIES.values())
    assert there_and_back(address, properties).properties == properties


def test_no_properties_at_all(address: Address) -> None:
    assert there_and_back(address, b"\0\0").properties == b"\0\0"


@pytest.mark.parametrize("field", [b"\x06\xff\xfe\xfd\x00\x01\x02", b"\x00", b"\xff" + b"x" * 255])
def test_short_strings_of_any_bytes(address: Address, field: bytes) -> None:
    properties = struct.pack(">H", 1 << 10) + field  # correlation-id
    assert there_and_back(address, properties).properties == properties


def test_python_values_through_pika(ch: Any) -> None:
    queue = ch.queue_declare("", exclusive=True).method.queue
    headers = {
        "text": "ä ☃",
        "int": -(2**31),
        "large": 2**40,
        "yes": True,
        "no": False,
        "none": None,
        "bytes": b"\x00\xff",
        "decimal": Decimal("3.14"),
        "when": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).replace(tzinfo=None),
        "list": [1, "two", [True, None]],
        "table": {"a": {"b": {}}},
    }
    sent = pika.BasicProperties(
        "text/plain",
        "utf-8",
        headers,
        2,
        5,
        "correlation",
        "reply",
        None,
        "message",
        1_700_000_000,
        "type",
        "guest",
        "app",
    )
    ch.basic_publish("", queue, b"", sent)
    found = must_get(ch, queue).properties
    assert (found.content_type, found.content_encoding, found.delivery_mode) == ("text/plain", "utf-8", 2)
    assert (found.priority, found.correlation_id, found.reply_to) == (5, "correlation", "reply")
    assert (found.message_id, found.timestamp, found.type) == ("message", 1_700_000_000, "type")
    assert (found.user_id, found.app_id, found.cluster_id) == ("guest", "app", None)
    assert {key: found.headers[key] for key in headers if key != "when"} == {
        key: value for key, value in headers.items() if key != "when"
    }


# -- bodies ----------------------------------------------------------------------------------------------

FRAME_MAX = 8192
PAYLOAD = FRAME_MAX - 8


@pytest.mark.parametrize(
    "size",
    [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD, 2 * PAYLOAD + 1, 131_064, 131_065, 1_000_000],
)
def test_bodies_around_the_size_of_a_frame(address: Address, size: int, fresh: Fresh) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    queue = fresh()
    with connection(address, frame_max=FRAME_MAX) as small, connection(address) as large:
        sender, receiver = small.channel(), large.channel()
        sender.queue_declare(queue)
        sender.basic_publish("", queue, body)
        assert must_get(receiver, queue, auto_ack=True).body == body
        receiver.basic_publish("", queue, body)
        assert must_get(sender, queue, auto_ack=True).body == body


def test_a_body_in_a_thousand_frames(address: Address) -> None:
    body = bytes(range(250)) * 4
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        raw.send(
            method_frame(1, spec.Basic.Publish(exchange="", routing_key=queue)) + header_frame(1, len(body))
        )
        raw.send(b"".join(body_frame(1, body[at : at + 1]) for at in range(len(body))))
        raw.send_method(1, spec.Basic.Get(queue=queue))
        assert raw.read_content(1).body == body


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_large_messages(ch: Any, fresh: Fresh, delivery_mode: int) -> None:
    queue = fresh()
    ch.queue_declare(queue, durable=True)
    ch.confirm_delivery()
    bodies = [bytes([number]) * (10 * 1024 * 1024) for number in (1, 2, 3)]
    for body in bodies:
        ch.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=delivery_mode))
    inbox = Inbox(ch, queue, auto_ack=True)
    inbox.wait(3, deadline_s=30)
    assert inbox.bodies == bodies


def test_the_largest_message(ch: Any) -> None:
    queue = ch.queue_declare("", exclusive=True).method.queue
    body = bytes(16 * 1024 * 1024)
    ch.basic_publish("", queue, body)
    assert must_get(ch, queue).body == body


def test_many_messages(ch: Any, fresh: Fresh) -> None:
    queue, total = fresh(), 10_000
    ch.queue_declare(queue, durable=True)
    ch.basic_qos(prefetch_count=200)
    seen: list[bytes] = []

    def take(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        seen.append(body)
        if len(seen) % 50 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)

    ch.basic_consume(queue, take)
    persistent = pika.BasicProperties(delivery_mode=2)
    for number in range(total):
        ch.basic_publish("", queue, str(number).encode(), persistent)
    while len(seen) < total:
        ch.connection.process_data_events(1)
    assert seen == [str(number).encode() for number in range(total)]


def test_many_channels(conn: Any) -> None:
    channels = [conn.channel() for _ in range(500)]
    queue = channels[0].queue_declare("", exclusive=True).method.queue
    for number, channel in enumerate(channels):
        channel.basic_publish("", queue, str(number).encode())
    seen = {must_get(channel, queue, auto_ack=True).body for channel in channels}
    assert len(seen) == len(channels)
    for channel in channels:
        channel.close()


def test_all_channel_numbers(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login()
        numbers = [*range(1, 2000), 2047]
        raw.send(b"".join(method_frame(number, spec.Channel.Open()) for number in numbers))
        answered = [raw.read_frame().channel for _ in numbers]
        assert sorted(answered) == numbers
        raw.close()
