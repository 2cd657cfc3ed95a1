"""What core asks of a consumer, and how it counts its credit. Protocols derive their own from it.

Credit is the only flow control: a consumer may have `prefetch` messages unsettled (0: any number), its session may
have a limit over all of its consumers, and a session whose other side does not read has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.lane import Lane
    from leveret.core.queue import Queue
    from leveret.core.session import Session

RUN: Final[i64] = 256  # messages handed over before anybody asks again whether the other side keeps up


class Consumer:
    def __init__(self, session: Session, queue: Queue, tag: str, no_ack: bool, prefetch: i64) -> None:
        self.session = session
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.prefetch: i64 = prefetch
        self.out: i64 = 0  # delivered and not settled: what the other side has in hand
        self.late: i64 = 0  # of these, no longer its own, since it took too long (session.py)
        self.pulls = False  # asks for each message: none of them counts for the session's limit
        self.exclusive = False
        self.priority: i64 = 0
        self.timeout_ms: i64 = 0  # in which it has to settle a delivery; 0 for ever
        self.active = True  # false once cancelled: its unsettled deliveries may live on
        self.arguments: dict[str, object] = {}

    def credit(self) -> i64:
        """How many messages it takes now; never more than a run."""
        session = self.session
        if not session.open_for_deliveries():
            return 0
        room: i64 = RUN
        if not self.no_ack:
            if self.prefetch != 0 and self.prefetch - self.out < room:
                room = self.prefetch - self.out
            limit = session.prefetch
            if limit != 0 and limit - session.out + session.pulled < room:
                room = limit - session.out + session.pulled
        return room

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        """Take one message. Counts itself out unless `no_ack`."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """The queue is gone: tell the other side."""
        raise NotImplementedError
