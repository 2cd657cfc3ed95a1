"""The bytes of a publish as a client sends it: bare, or with the properties of a Celery task (task protocol 2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from bench.client import BODY, END, HEADER, long_string, method_frame, short_string

TASK_ID = "5c6bf4b2-1f0e-4d8a-9a53-0d3f5b6d1c9e"
REPLY_TO = "9b1c0f0a-73a5-3c43-8d0e-6c1f4e8f9d11"
HAS_HEADERS = 0x2000
HAS_DELIVERY_MODE = 0x1000
HAS_PRIORITY = 0x0800
HAS_EXPIRATION = 0x0100
CELERY_FLAGS = 0xFE00  # content-type, encoding, headers, delivery-mode, priority, correlation-id, reply-to


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + END


def _field(name: str, value: object) -> bytes:
    head = short_string(name)
    if value is None:
        return head + b"V"
    if isinstance(value, bool):
        return head + b"t" + bytes([value])
    if isinstance(value, int):
        return head + b"I" + struct.pack(">i", value)
    if isinstance(value, str):
        return head + b"S" + long_string(value.encode())
    if isinstance(value, list):
        return head + b"A" + long_string(b"V" * len(value))  # of nothing but None
    if isinstance(value, dict):
        return head + b"F" + long_string(b"")
    raise TypeError(f"no field for {value!r}")


CELERY_HEADERS: dict[str, object] = {
    "lang": "py",
    "task": "tasks.images.resize",
    "id": TASK_ID,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "parent_id": None,
    "stamped_headers": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": TASK_ID,
    "argsrepr": "(1234, 'in/photo.jpeg')",
    "kwargsrepr": "{'width': 640}",
    "origin": "gen4711@worker-host",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamps": {},
}


@dataclass(frozen=True)
class Asks:
    """What a message asks of its queues, besides to be kept."""

    headers: dict[str, object] = field(default_factory=dict)
    priority: int = -1
    expiration: str = ""


NOTHING = Asks()


def table(fields: dict[str, object]) -> bytes:
    return long_string(b"".join(_field(name, value) for name, value in fields.items()))


def properties(persistent: bool, celery: bool, asks: Asks = NOTHING) -> bytes:
    """Flags and values (AMQP 0-9-1, 4.2.6.1). A Celery task asks nothing."""
    mode = bytes([2 if persistent else 1])
    if not celery:
        flags, values = 0, b""
        if asks.headers:
            flags, values = HAS_HEADERS, table(asks.headers)
        if persistent:
            flags, values = flags | HAS_DELIVERY_MODE, values + mode
        if asks.priority >= 0:
            flags, values = flags | HAS_PRIORITY, values + bytes([asks.priority])
        if asks.expiration:
            flags, values = flags | HAS_EXPIRATION, values + short_string(asks.expiration)
        return struct.pack(">H", flags) + values
    headers = table(CELERY_HEADERS)
    texts = short_string("application/json") + short_string("utf-8")
    return (
        struct.pack(">H", CELERY_FLAGS)
        + texts
        + headers
        + mode
        + b"\0"
        + short_string(TASK_ID)
        + short_string(REPLY_TO)
    )


def publish(
    channel: int, queue: str, body: bytes, persistent: bool, celery: bool, asks: Asks = NOTHING
) -> bytes:
    """A publish to the default exchange."""
    method = method_frame(channel, (60, 40), b"\0\0" + short_string("") + short_string(queue) + b"\0")
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties(persistent, celery, asks)
    return method + frame(HEADER, channel, header) + frame(BODY, channel, body)
