"""The receipts that a connection is owed, in the order of the frames that asked for them.

Each waits for a position of the journal, 0 for nothing, and for those before it: a receipt says that all before it was
taken, too. What ends the connection, an ERROR or nothing more, is said behind the last of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.turn import Waiter
from leveret.native import i64
from leveret.wire.stomp import put_receipt

if TYPE_CHECKING:
    from leveret.protocol.stomp.peer import StompPeer


class Pending:
    """receipt: the header's value, as it came."""

    def __init__(self, receipt: bytes, position: i64) -> None:
        self.receipt = receipt
        self.position: i64 = position


class Receipts(Waiter):
    def __init__(self, peer: StompPeer) -> None:
        super().__init__()
        self.peer = peer
        self.pending: list[Pending] = []
        self.ends = False  # the connection does, once all are given
        self.last_words = b""  # and says this
        self.closed = False

    def add(self, receipt: bytes, position: i64) -> None:
        """One more, which is due once `position` is on disk."""
        turn = self.peer.turn
        if not self.pending and position <= turn.journal.durable:
            self._put(receipt)
            return
        self.pending.append(Pending(receipt, position))
        turn.wait_for(self, position)

    def end(self, last_words: bytes) -> None:
        """Nothing follows but this."""
        if self.ends:
            return
        self.ends = True
        self.last_words = last_words
        if not self.pending:
            self._end()

    def advance(self, durable: i64) -> i64:
        pending = self.pending
        if self.closed or not pending:
            return 0
        n: i64 = len(pending)
        i: i64 = 0
        while i < n and pending[i].position <= durable:
            self._put(pending[i].receipt)
            i += 1
        if i < n:
            del pending[:i]
            return pending[n - i - 1].position
        pending.clear()
        if self.ends:
            self._end()
        return 0

    def close(self) -> None:
        """Nobody is there to be told."""
        self.closed = True
        self.pending.clear()

    def _put(self, receipt: bytes) -> None:
        peer = self.peer
        put_receipt(peer.out, receipt)
        peer.touch()

    def _end(self) -> None:
        peer = self.peer
        peer.out.write(self.last_words)
        self.closed = True
        peer.conversation.shut()
