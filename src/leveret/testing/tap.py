"""Sees what is published: reads along with what clients send, and keeps the last of it for the asserts of a test.

It knows frames and routes. It is told of bytes after the broker has taken them in, and changes nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from leveret.core.vhost import VHost
from leveret.core.view import Seen, view_of
from leveret.embed.look import Waiting
from leveret.errors import LeveretError
from leveret.server.admin_message import make_message, raw_route
from leveret.server.link import ServerLink
from leveret.wire import methods
from leveret.wire.frames import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, Frame, FrameSplitter
from leveret.wire.properties import Properties, decode_properties
from leveret.wire.signatures import decode_method

PROTOCOL_HEADER_BYTES: Final = 8
PROPERTIES_AT: Final = 12  # in a content header: class, weight and body size before them
KEPT: Final = 10_000
KEPT_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Published(Waiting):
    """A message as it was published. `queues`: those that it was routed to; none: it went nowhere."""

    queues: tuple[str, ...] = ()
    vhost: str = "/"


class Content:
    """A publish that is not whole yet."""

    def __init__(self, exchange: str, key: str) -> None:
        self.exchange = exchange
        self.key = key
        self.properties = Properties()
        self.missing_bytes = -1  # the header has not come
        self.parts: list[bytes] = []


class Reader:
    """What one connection sends."""

    def __init__(self, found: Callable[[Content], None]) -> None:
        self.found = found
        self.splitter = FrameSplitter()
        self.head_bytes = PROTOCOL_HEADER_BYTES
        self.contents: dict[int, Content] = {}

    def read(self, data: bytes) -> None:
        skipped = min(self.head_bytes, len(data))
        self.head_bytes -= skipped
        for frame in self.splitter.feed(data[skipped:]):
            self._frame(frame)

    def _frame(self, frame: Frame) -> None:
        number = frame.channel
        if frame.kind == FRAME_METHOD:
            self.contents.pop(number, None)
            if int.from_bytes(frame.payload[:4], "big") == methods.BASIC_PUBLISH:
                fields: Any = decode_method(frame.payload).fields
                self.contents[number] = Content(fields["exchange"], fields["routing_key"])
            return
        content = self.contents.get(number)
        if content is None:
            return
        if frame.kind == FRAME_HEADER:
            content.missing_bytes = int.from_bytes(frame.payload[4:12], "big")
            content.properties = decode_properties(frame.payload, PROPERTIES_AT)
        elif frame.kind == FRAME_BODY:
            content.parts.append(frame.payload)
            content.missing_bytes -= len(frame.payload)
        if content.missing_bytes == 0:
            del self.contents[number]
            self.found(content)


class Tap:
    """Keeps the last messages that were published. `links` is for the broker's thread; the rest for any."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.kept: deque[Published] = deque()
        self.kept_bytes = 0
        self.dropped = 0  # published before what is kept

    def link(self, link: ServerLink) -> None:
        """Read along with a connection."""
        receive = link.receive
        reader = Reader(lambda content: self._add(link, content))

        def read_along(data: bytes) -> None:
            receive(data)
            try:
                reader.read(data)
            except LeveretError:
                link.receive = (
                    receive  # it sent what is none: the broker says so, there is nothing more to see
                )

        link.receive = read_along

    def _add(self, link: ServerLink, content: Content) -> None:
        vhost = link.connection.vhost
        body = b"".join(content.parts)
        if vhost is None:
            return
        message = Published(
            body, content.exchange, content.key, properties=content.properties,
            queues=_queues(vhost, content, body), vhost=vhost.name,
        )  # fmt: skip
        with self.changed:
            self.kept.append(message)
            self.kept_bytes += len(body)
            while len(self.kept) > KEPT or self.kept_bytes > KEPT_BYTES:
                self.kept_bytes -= len(self.kept.popleft().body)
                self.dropped += 1
            self.changed.notify_all()

    def all(self) -> list[Published]:
        with self.changed:
            return list(self.kept)

    def clear(self) -> None:
        with self.changed:
            self.kept.clear()
            self.kept_bytes = 0
            self.dropped = 0


def _queues(vhost: VHost, content: Content, body: bytes) -> tuple[str, ...]:
    """The queues that a message like this is routed to."""
    raw = raw_route(content.exchange, content.key)
    try:
        route = vhost.routes.get(raw) or vhost.resolve(raw)
        message = make_message(content.properties, route.raw, body)
        copies = view_of(message).copy_keys(message)
        if route.by_headers or copies is not None:
            found = vhost.route_by_message(route, Seen(message, content.key, copies))
        else:
            found = route.queues
    except LeveretError:
        return ()
    return tuple(queue.name for queue in found)
