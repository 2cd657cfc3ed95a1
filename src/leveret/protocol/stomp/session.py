"""What one subscription was given and has not settled: a session of its own, since an ACK that settles all up to a
message means those of its subscription.

It outlives an UNSUBSCRIBE as long as something is unsettled, and goes on with the next SUBSCRIBE of the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.session import Session
from leveret.errors import PreconditionFailed
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.protocol.stomp.peer import StompPeer
    from leveret.protocol.stomp.subscription import Subscription


class StompSession(Session):
    """name: how the ids of its messages begin; label: the subscription, for people; subscription: None after
    UNSUBSCRIBE."""

    def __init__(self, peer: StompPeer, number: i64, name: bytes, label: str) -> None:
        super().__init__()
        self.peer = peer
        self.number: i64 = number
        self.name = name
        self.label = label
        self.subscription: Subscription | None = None
        self.mixed = False  # it had another subscription before, which may have settled otherwise

    def open_for_deliveries(self) -> bool:
        return not self.peer.stopped and self.peer.can_take()

    def ends_overdue(self, limit_ms: i64) -> bool:
        """RabbitMQ's consumer_timeout, which ends the connection, if this listener is to do as RabbitMQ 3 does."""
        conversation = self.peer.conversation
        if not conversation.settings.overdue_closes:
            return False
        conversation.fail(
            PreconditionFailed(
                f"delivery acknowledgement on subscription '{self.label}' timed out. "
                f"Timeout value used: {int(limit_ms)} ms"
            )
        )
        return True
