"""A channel's transaction (AMQP 0-9-1, tx class, as RabbitMQ does it). What one is, is in core/transaction.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.queue import Queue
from leveret.core.transaction import Transaction
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.amqp091.channel import AmqpChannel


class ChannelTransaction(Transaction):
    def __init__(self, channel: AmqpChannel) -> None:
        super().__init__()
        self.channel = channel

    def gathered(self, more: i64) -> None:
        self.channel.peer.connection.gathering(more)

    def give(self, route: Route, queues: list[Queue], m: Message) -> None:
        self.channel.publish_to(route, queues, m)
