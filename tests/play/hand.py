"""A consumer of a world, on a session of its own. What it is given is looked at when it is given."""

from __future__ import annotations

from collections.abc import Callable

from leveret.core.asking import OneMessage, Receiver
from leveret.core.queue import Queue
from leveret.core.session import Run, Session
from leveret.message import Message
from tests.play.messages import Process

Seen = Callable[
    ["Hand", int, Run, Message, bool], None
]  # hand, tag (0: settled by being delivered), run, ...


class Hand:
    def __init__(
        self, process: Process, queue: Queue, name: str, prefetch: int, priority: int, seen: Seen
    ) -> None:
        self.process = process
        self.queue = queue
        self.seen = seen
        self.session = Session()
        self.getters: list[OneMessage] = []
        self.unsettled: dict[int, int] = {}  # tag: number
        self.consumer = Receiver(self.session, queue, name, False, prefetch, self._take)
        self.consumer.arguments = {"x-priority": priority} if priority else {}
        self.priority = priority
        self.prefetch = prefetch
        self.session.consumers[name] = self.consumer
        process.vhost.consume(queue, self.consumer)

    def _take(self, tag: int, m: Message, redelivered: bool) -> None:
        self.seen(self, tag, self.session.runs[-1], m, redelivered)

    def ask(self) -> None:
        """One message by get, beside those that are pushed."""

        def then(m: Message | None, redelivered: bool) -> None:
            if m is not None:
                self.seen(self, int(self.session.next_tag) - 1, self.session.runs[-1], m, redelivered)

        getter = OneMessage(self.session, self.queue, then)
        self.getters.append(getter)
        self.process.vhost.get(self.queue, getter)

    def live_tags(self) -> list[int]:
        """Tags of what is still its own: not taken back since it took too long."""
        found: list[int] = []
        for run in self.session.unsettled():
            found += range(int(run.tag), int(run.tag + run.count))
        return found

    def has_room(self) -> bool:
        return self.consumer.credit() > 0

    def leave(self, lost: bool) -> None:
        for getter in self.getters:
            getter.active = False
        self.session.consumers.clear()
        self.process.vhost.cancel(self.consumer)
        if lost:
            self.session.lose_all()
        else:
            self.session.release_all(True)
