"""Commands whose answer goes to a function, for whoever asks and is no protocol's peer (the admin socket).

Compiled classes are derived from compiled classes only: this file is where those outside of `core` get theirs. It
knows neither loops nor sockets; the functions must not block and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable

from leveret.core.consumer import Consumer
from leveret.core.lane import Lane
from leveret.core.queue import Getter, Queue
from leveret.core.session import Session
from leveret.core.turn import Waiter
from leveret.message import Message
from leveret.native import i64


class Durable(Waiter):
    """Calls `then` once the journal is durable up to a position. Hand it to `Turn.wait_for`."""

    def __init__(self, position: i64, then: Callable[[], object]) -> None:
        super().__init__()
        self.position: i64 = position
        self.then = then

    def advance(self, durable: i64) -> i64:
        if self.position > durable:
            return self.position
        self.then()
        return 0


class OneMessage(Getter):
    """Asks a queue for one message: `then(message, redelivered)`, or `then(None, False)` where there is none.

    The message is unsettled in `session` until that is told what becomes of it. Clear `active` to ask no longer.
    """

    def __init__(
        self, session: Session, queue: Queue, then: Callable[[Message | None, bool], object]
    ) -> None:
        super().__init__(session, queue, "", False, 0)
        self.then = then

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        self.session.note(self, lane, seq)
        self.active = False
        self.then(m, redelivered)

    def nothing(self) -> None:
        if self.active:
            self.active = False
            self.then(None, False)

    def cancelled(self) -> None:
        self.nothing()


class Receiver(Consumer):
    """A consumer whose deliveries go to a function: `take(tag, message, redelivered)`; tag 0 with `no_ack`."""

    def __init__(
        self,
        session: Session,
        queue: Queue,
        tag: str,
        no_ack: bool,
        prefetch: i64,
        take: Callable[[int, Message, bool], object],
    ) -> None:
        super().__init__(session, queue, tag, no_ack, prefetch)
        self.take = take

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        tag: i64 = 0 if self.no_ack else self.session.note(self, lane, seq)
        self.take(int(tag), m, redelivered)

    def cancelled(self) -> None:
        self.session.consumers.pop(self.tag, None)
