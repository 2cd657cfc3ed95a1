"""Messages as AMQP 0-9-1 publishes them, each with a number, and what a broker has of them in its lanes."""

from __future__ import annotations

import random
from typing import Protocol

from librt.strings import BytesWriter

from leveret.core.broker import Broker
from leveret.core.exchange_store import ExchangeStore
from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.core.lane import Lane
from leveret.core.page import AGAIN, GONE
from leveret.core.queue import Queue
from leveret.core.vhost import VHost
from leveret.message import AMQP091, Message
from leveret.store.journal import LogJournal
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, encode_properties
from tests.rig import body_of

SIZES = (0, 10, 100, 100, 100, 100, 700, 1_500, 3_000, 9_000, 17_000)


class Process(Protocol):
    """A broker that is played with."""

    @property
    def broker(self) -> Broker: ...

    @property
    def vhost(self) -> VHost: ...

    @property
    def journal(self) -> LogJournal: ...

    def turn(self) -> None: ...

    def settle_down(self) -> None: ...

    def page_file(self, lane: int, base: int) -> bytes: ...


def body(n: int) -> bytes:
    return n.to_bytes(4, "big") + random.Random(n).choice(SIZES) * bytes([n % 251])


def number_of(data: bytes) -> int:
    """Of an encoded message, which has to be whole."""
    found = body_of(data)
    n = int.from_bytes(found[:4], "big")
    assert found == body(n), f"{n} has been changed"
    return n


def publish(process: Process, exchange: str, key: str, n: int, properties: Properties) -> int:
    """Returns its position."""
    content = body(n)
    out = BytesWriter()
    content_header(out, 1, len(content), encode_properties(properties))
    body_frames(out, 1, content, 131_072)
    raw = bytes([len(exchange)]) + exchange.encode() + bytes([len(key)]) + key.encode() + b"\0"
    vhost = process.vhost
    route = vhost.routes.get(raw)
    if route is None:
        route = vhost.resolve(raw)
    m = Message(out.getvalue(), route.raw, len(content), properties.delivery_mode == 2, AMQP091)
    vhost.set_terms(route, m, ASKS_EXPIRATION | ASKS_BY_HEADERS)
    if m.terms is None and route.simple:
        return int(vhost.publish(route.queues, m))
    return int(vhost.take(route, route.queues, m))


class Copy:
    """A message in a lane."""

    def __init__(self, n: int, where: str, lane: Lane, seq: int, state: int, flagged: bool) -> None:
        self.n = n
        self.where = where  # the queue, or ~ and the exchange
        self.lane = lane
        self.seq = seq
        self.state = state
        self.flagged = flagged


def copies(process: Process) -> list[Copy]:
    """All there are, with what is in page files."""
    found: list[Copy] = []
    for holder in process.broker.holders.values():
        if isinstance(holder, Queue):
            where = holder.name
        else:
            assert isinstance(holder, ExchangeStore)
            where = "~" + holder.exchange.name
        for lane in holder.all_lanes():
            found += in_lane(process, where, lane)
    return found


def in_lane(process: Process, where: str, lane: Lane) -> list[Copy]:
    found: list[Copy] = []
    last = -1
    for page in lane.pages or []:
        stored: dict[int, bytes] = {}
        if page.messages is None:
            stored = entries(process.page_file(int(lane.lid), int(page.base)))
        for slot in range(page.count):
            state = int(page.state(slot))
            if state == GONE:
                continue
            seq = int(page.base) + slot
            assert seq > last, "pages overlap or are out of order"
            last = seq
            m = None if page.messages is None else page.messages[slot]
            n = number_of(stored[slot] if m is None else m.data)
            flagged = state == AGAIN or seq < lane.redelivered_below
            found.append(Copy(n, where, lane, seq, state, flagged))
    assert len(found) == lane.ready + lane.out, (
        f"{where} counts {lane.ready} + {lane.out}, and has {len(found)}"
    )
    return found


def entries(content: bytes) -> dict[int, bytes]:
    """The messages of a page file, read as core/page.py describes it."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        slot = int.from_bytes(content[at : at + 2], "big")
        route = int.from_bytes(content[at + 4 : at + 6], "big")
        size = int.from_bytes(content[at + 6 : at + 10], "big")
        at += (50 if content[at + 2] & 2 else 18) + route
        found[slot] = content[at : at + size]
        at += size
    return found
