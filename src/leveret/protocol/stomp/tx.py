"""A transaction of STOMP: SEND, ACK and NACK between BEGIN and COMMIT. What one is, is in core/transaction.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.transaction import Transaction
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.protocol.stomp.connection import StompConversation


class StompTransaction(Transaction):
    def __init__(self, conversation: StompConversation) -> None:
        super().__init__()
        self.conversation = conversation
        self.receipts: list[bytes] = []  # of its frames: due when it is committed

    def give_receipts(self) -> None:
        """It is committed: what its frames did is safe when that is."""
        peer = self.conversation.peer
        for receipt in self.receipts:
            peer.receipts.add(receipt, peer.position)

    def gathered(self, more: i64) -> None:
        self.conversation.gathering(more)
