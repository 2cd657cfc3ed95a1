"""A message as it was received, and what may become of it.

A `Message` keeps the bytes of its publisher's protocol: properties and body are never decoded unless somebody
asks, and the same bytes go out again to a consumer of the same protocol. It does not know the queues it is in:
a queue keeps positions and states, so one message can wait in many.
"""

from __future__ import annotations

from typing import Final

from leveret.native import i64, mypyc_attr

AMQP091: Final = 1  # data: content header frame and body frames, as received (AMQP 0-9-1, 4.2.6)
STOMP: Final = 2  # data: header lines in STOMP 1.2's escapes, an empty line, the body

OVERHEAD_BYTES: Final[i64] = 640

# Outcomes of a delivery; each protocol's ack, nack, reject and disposition maps onto one of these.
ACCEPTED: Final[i64] = 0
REJECTED: Final[i64] = 1  # dead-letter, or drop where there is nowhere to go
RELEASED: Final[i64] = 2  # back to its place, not counted as an attempt
MODIFIED: Final[i64] = 3  # back to its place, counted
DISCARDED: Final[i64] = 4  # as REJECTED, but not counted


@mypyc_attr(acyclic=True)
class Terms:
    """What a message asks of time and rank, or what its queues need to know of it: found out once, when it is
    published, journaled and paged with it. stamp_ms: when that was (wall clock, ms since 1970); ttl_ms: how long it
    may wait by its own word, -1 for ever; due_ms: not to be delivered before, 0 for at once; priority: its own."""

    def __init__(self, stamp_ms: i64, ttl_ms: i64, due_ms: i64, priority: i64) -> None:
        self.stamp_ms: i64 = stamp_ms
        self.ttl_ms: i64 = ttl_ms
        self.due_ms: i64 = due_ms
        self.priority: i64 = priority


@mypyc_attr(acyclic=True)
class Message:
    """data: bytes as received; route: exchange and routing key as two AMQP short strings; size: of the body; terms:
    None for a message that asks nothing, and whose queues do not."""

    def __init__(self, data: bytes, route: bytes, size_bytes: i64, persistent: bool, protocol: i64) -> None:
        self.data = data
        self.route = route
        self.size_bytes: i64 = size_bytes
        self.persistent = persistent
        self.protocol: i64 = protocol
        self.terms: Terms | None = None

    def weight_bytes(self) -> i64:
        """How heavy it is in memory: its bytes, and generously what it costs beside them, so that many small messages
        leave memory sooner than few large ones, which had better not go to disk and back."""
        return i64(len(self.data)) + OVERHEAD_BYTES
