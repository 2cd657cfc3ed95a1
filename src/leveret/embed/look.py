"""What waits in a queue, looked at without taking anything. Knows lanes and pages, and no protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

from leveret.core.page import OUT
from leveret.core.queue import Queue
from leveret.core.view import view_of
from leveret.errors import StoreError
from leveret.message import Message
from leveret.wire.properties import Properties


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message as its publisher sent it. `queue`: where it waits; empty for one that was only seen to be published."""

    body: bytes
    exchange: str
    key: str
    queue: str = ""
    redelivered: bool = False
    properties: Properties = field(default_factory=Properties, repr=False)

    @property
    def headers(self) -> dict[str, object]:
        """Its headers; empty if it has none."""
        return self.properties.headers or {}


def waiting(queue: Queue) -> list[Waiting]:
    """What is ready in a queue, in the order of its lanes: the highest priority first. Raises StoreError if part of
    it is on disk only."""
    found: list[Waiting] = []
    for lane in queue.ranked or [queue.lane]:
        for page in lane.pages or []:
            if page.ready == 0:
                continue
            messages = page.messages
            if messages is None:
                raise StoreError(
                    f"part of queue '{queue.name}' is on disk, and is not looked at; raise pages_in_memory_bytes"
                )
            for slot, m in enumerate(messages):
                if m is not None and page.state(slot) < OUT:
                    again = page.state(slot) == 1 or page.base + slot < lane.redelivered_below
                    found.append(as_waiting(m, queue.name, again))
    return found


def as_waiting(m: Message, queue: str = "", redelivered: bool = False) -> Waiting:
    at = 1 + m.route[0]
    view = view_of(m)
    return Waiting(
        view.body(m),
        m.route[1:at].decode("utf-8", "surrogateescape"),
        m.route[at + 1 : at + 1 + m.route[at]].decode("utf-8", "surrogateescape"),
        queue,
        redelivered,
        view.properties(m),
    )
