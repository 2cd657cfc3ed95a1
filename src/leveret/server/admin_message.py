"""Messages and AMQP values as plain values for JSON, and back: what the admin commands publish and show.

What is published by them is an AMQP 0-9-1 message. Knows neither queues nor sockets.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from leveret.core.view import view_of
from leveret.errors import CommandInvalid
from leveret.limits import SHORT_STRING_BYTES
from leveret.message import Message
from leveret.protocol.amqp091.foreign import made
from leveret.wire.properties import Properties

SETTABLE: Final = {
    "content_type": str, "content_encoding": str, "headers": dict, "priority": int, "correlation_id": str,
    "reply_to": str, "expiration": str, "message_id": str, "timestamp": int, "type": str, "app_id": str,
}  # fmt: skip


def properties_from(values: object, persistent: bool) -> Properties:
    """The properties that a request names. Raises CommandInvalid for what is none."""
    if not isinstance(values, Mapping):
        raise CommandInvalid("properties is not an object")
    properties = Properties(delivery_mode=2 if persistent else 1)
    for name, value in values.items():
        if name not in SETTABLE or not isinstance(value, SETTABLE[name]):
            raise CommandInvalid(f"property '{name}' is unknown or has a value of the wrong type")
        if isinstance(value, str) and len(value.encode("utf-8", "surrogateescape")) > SHORT_STRING_BYTES:
            raise CommandInvalid(f"property '{name}' is longer than {SHORT_STRING_BYTES} bytes")
        most = 255 if name == "priority" else (1 << 63) - 1
        if isinstance(value, int) and not 0 <= value <= most:
            raise CommandInvalid(f"property '{name}' is 0 to {most}, not {value}")
        setattr(properties, name, value)
    return properties


def raw_route(exchange: str, key: str) -> bytes:
    """Exchange and key as two short strings and no bits set: what basic.publish has (1.8.3.3)."""
    raw = b""
    for name in (exchange, key):
        encoded = name.encode("utf-8", "surrogateescape")
        if len(encoded) > SHORT_STRING_BYTES:
            raise CommandInvalid(f"a name is longer than {SHORT_STRING_BYTES} bytes")
        raw += bytes([len(encoded)]) + encoded
    return raw + b"\0"


def make_message(properties: Properties, route: bytes, body: bytes) -> Message:
    """A message as if it had been received, in frames that every consumer takes, so that none is re-cut."""
    return made(properties, body, route, properties.delivery_mode == 2)


def message_row(message: Message, redelivered: bool) -> dict[str, object]:
    """A message as plain values; the body in base64."""
    at = 1 + message.route[0]
    row: dict[str, object] = {
        "exchange": message.route[1:at].decode("utf-8", "surrogateescape"),
        "routing_key": message.route[at + 1 : at + 1 + message.route[at]].decode("utf-8", "surrogateescape"),
        "redelivered": redelivered,
        "size_bytes": int(message.size_bytes),
    }
    view = view_of(message)
    row["properties"] = plain(view.properties(message).as_dict())
    row["body"] = base64.b64encode(view.body(message)).decode()
    return row


def plain(value: object) -> Any:
    """A field table's value as JSON can have it. Other types than JSON's become text."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    seconds = getattr(value, "seconds", None)  # wire.table.Timestamp
    return seconds if isinstance(seconds, int) else str(value)


def client_name(properties: Mapping[str, object]) -> str:
    """What a client calls itself: its connection's name if it gave one, else product and version."""
    named = properties.get("connection_name")
    if isinstance(named, str) and named:
        return named
    return " ".join(
        str(properties[name]) for name in ("product", "version") if isinstance(properties.get(name), str)
    )
