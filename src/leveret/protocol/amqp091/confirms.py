"""Publisher confirms of one channel (RabbitMQ's confirm extension).

Publishes are numbered from 1. Each waits for a position of the journal, 0 for nothing; runs of consecutive numbers
with one position are one entry. An ack is cumulative where nothing before it waits; one that waits for nothing does
not queue behind one that does. It writes frames and knows nothing of messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be

from leveret.core.turn import Waiter
from leveret.native import i16, i64
from leveret.wire.methods import BASIC_ACK, BASIC_NACK

if TYPE_CHECKING:
    from leveret.protocol.amqp091.peer import AmqpPeer


class Pending:
    """Publishes first..last, confirmed once `position` is on disk."""

    def __init__(self, first: i64, last: i64, position: i64, refused: bool) -> None:
        self.first: i64 = first
        self.last: i64 = last
        self.position: i64 = position
        self.refused = refused


class Confirms(Waiter):
    def __init__(self, peer: AmqpPeer, channel: i64) -> None:
        super().__init__()
        self.peer = peer
        self.closed = False
        self.channel: i64 = channel
        self.published: i64 = 0
        self.pending: list[Pending] = []

    def note(self, position: i64) -> None:
        """One more publish, that is safe when `position` is on disk."""
        self._note(position, False)

    def refuse(self) -> None:
        """One more publish, that was not taken: a nack."""
        self._note(0, True)

    def _note(self, position: i64, refused: bool) -> None:
        number = self.published + 1
        self.published = number
        pending = self.pending
        n: i64 = len(pending)
        if n > 0:
            last = pending[n - 1]
            if last.position == position and last.refused == refused:
                last.last = number
                return
        pending.append(Pending(number, number, position, refused))

    def advance(self, durable: i64) -> i64:
        """Write what can be confirmed now. Returns the last position that is waited for."""
        pending = self.pending
        if self.closed or not pending:
            return 0
        out = self.peer.out
        if not self.peer.touched:
            self.peer.touch()
        n: i64 = len(pending)
        i: i64 = 0
        upto: i64 = 0
        while i < n:
            p = pending[i]
            if p.position > durable or p.refused:
                break
            upto = p.last
            i += 1
        if i > 0:
            first = pending[0].first
            self._frame(out, BASIC_ACK, upto, upto > first)
            if i == n:
                pending.clear()
                return 0
            del pending[:i]
            n -= i
        # What is left begins with one that waits or is refused: the others are told one by one.
        kept: list[Pending] = []
        for p in pending:
            if p.position > durable:
                kept.append(p)
                continue
            number = p.first
            while number <= p.last:
                self._frame(out, BASIC_NACK if p.refused else BASIC_ACK, number, False)
                number += 1
        self.pending = kept
        return 0 if not kept else kept[len(kept) - 1].position

    def _frame(self, out: BytesWriter, method: i64, number: i64, multiple: bool) -> None:
        out.append(1)
        write_i16_be(out, i16(self.channel))
        write_i32_be(out, 13)
        out.append(0)
        out.append(60)
        out.append(0)
        out.append(80 if method == BASIC_ACK else 120)
        write_i64_be(out, number)
        out.append(1 if multiple else 0)
        out.append(206)
