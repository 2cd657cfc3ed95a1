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

    def gathered(self, more: i64) -> None:
        self.conversation.gathering(more)
