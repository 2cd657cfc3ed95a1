"""A transaction of STOMP: SEND, ACK and NACK between BEGIN and COMMIT. What one is, is in core/transaction.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.queue import Queue
from leveret.core.transaction import Transaction
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.stomp.connection import StompConversation


class Owed:
    """send: which SEND of its transaction it is for, from 1; 0 for another frame."""

    def __init__(self, receipt: bytes, send: i64) -> None:
        self.receipt = receipt
        self.send: i64 = send


class StompTransaction(Transaction):
    def __init__(self, conversation: StompConversation) -> None:
        super().__init__()
        self.conversation = conversation
        self.receipts: list[Owed] = []  # of its frames: due when it is committed
        self.given: i64 = 0  # SENDs that the commit is done with
        self.refused: set[int] = set()  # which of them a queue did not take

    def owe(self, receipt: bytes, is_send: bool) -> None:
        """A receipt of the frame that was just taken in."""
        self.receipts.append(Owed(receipt, i64(len(self.publishes)) if is_send else 0))

    def give_receipts(self) -> bool:
        """It is committed: what its frames did is safe when that is. False: there is one that was not done."""
        peer = self.conversation.peer
        done = True
        for owed in self.receipts:
            if owed.send in self.refused:
                done = False
            else:
                peer.receipts.add(owed.receipt, peer.position)
        return done

    def give(self, route: Route, queues: list[Queue], m: Message) -> None:
        super().give(route, queues, m)
        self.given += 1
        if route.vhost.refused:
            self.refused.add(int(self.given))

    def gathered(self, more: i64) -> None:
        self.conversation.gathering(more)
