"""The bytes of a publish as a client sends it: bare, or with the properties of a Celery task (task protocol 2)."""

from __future__ import annotations

import struct

from bench.client import BODY, END, HEADER, long_string, method_frame, short_string

TASK_ID = "5c6bf4b2-1f0e-4d8a-9a53-0d3f5b6d1c9e"
REPLY_TO = "9b1c0f0a-73a5-3c43-8d0e-6c1f4e8f9d11"
HAS_DELIVERY_MODE = 0x1000
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


def properties(persistent: bool, celery: bool) -> bytes:
    """Flags and values (AMQP 0-9-1, 4.2.6.1)."""
    mode = bytes([2 if persistent else 1])
    if not celery:
        return struct.pack(">H", HAS_DELIVERY_MODE) + mode if persistent else b"\0\0"
    headers = long_string(b"".join(_field(name, value) for name, value in CELERY_HEADERS.items()))
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


def publish(channel: int, queue: str, body: bytes, persistent: bool, celery: bool) -> bytes:
    """A publish to the default exchange."""
    method = method_frame(channel, (60, 40), b"\0\0" + short_string("") + short_string(queue) + b"\0")
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties(persistent, celery)
    return method + frame(HEADER, channel, header) + frame(BODY, channel, body)
