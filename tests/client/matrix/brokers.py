"""The brokers that the matrix runs against, and a line past the client under test to look at them.

MATRIX_URL names one (or several, with a space between them): amqp URLs, `leveret` or `rabbitmq`. Without it
they are a Leveret of our own, and Debian's RabbitMQ where that is installed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pika
import pika.exceptions

from ...compat.broker import Address
from ...compat.clients import parameters
from ...compat.waiting import eventually

VARIABLE: Final = "MATRIX_URL"
RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def names() -> list[str]:
    """What `tests.differential.brokers.broker` is to be asked for."""
    given = os.environ.get(VARIABLE, "").split()
    return given or ["leveret", *(["rabbitmq"] if RABBITMQ.exists() else [])]


class Side:
    """Looks at a broker from the side, by pika: it is no client that is being tested, and blocks the loop for moments."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: pika.BlockingConnection | None = None
        self._channel: Any = None

    @property
    def channel(self) -> Any:
        """One that is open and confirms; a new one where the broker closed the last."""
        if self._connection is None or self._connection.is_closed:
            self._connection = pika.BlockingConnection(parameters(self.address, heartbeat=0))
            self._channel = None
        if self._channel is None or self._channel.is_closed:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def declare(self, queue: str, **arguments: Any) -> None:
        """Durable, with AMQP's arguments."""
        self.channel.queue_declare(queue, durable=True, arguments=arguments)

    def retire(self) -> None:
        """The broker is gone, and the connection with it: the next thing that is asked for opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                connection.close()

    def exists(self, queue: str) -> bool:
        return self.count(queue) is not None

    def count(self, queue: str) -> int | None:
        """Messages that are ready; None where there is no such queue."""
        try:
            return int(self.channel.queue_declare(queue, passive=True).method.message_count)
        except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.AMQPConnectionError):
            return None

    def consumers(self, queue: str) -> int:
        """How many consume; -1 where there is no such queue."""
        try:
            return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)
        except pika.exceptions.ChannelClosedByBroker:
            return -1

    def publish(self, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> bool:
        """Persistent; whether all of them reached a queue, and the broker is there at all."""
        made = pika.BasicProperties(delivery_mode=2, **properties)
        try:
            for body in bodies:
                self.channel.basic_publish(exchange, queue, body, made, mandatory=True)
        except (
            pika.exceptions.UnroutableError,
            pika.exceptions.NackError,  # of a queue that is being deleted
            pika.exceptions.ChannelClosedByBroker,
            pika.exceptions.AMQPConnectionError,
        ):
            return False
        return True

    def take_all(self, queue: str) -> list[tuple[str | None, bytes]]:
        """Message ids and bodies of all that is ready, which is acked; as far as the broker is there."""
        found: list[tuple[str | None, bytes]] = []
        with contextlib.suppress(pika.exceptions.AMQPConnectionError):
            while True:
                method, properties, body = self.channel.basic_get(queue, auto_ack=True)
                if method is None:
                    break
                found.append((properties.message_id, body))
        return found

    def delete(self, *queues: str) -> None:
        for queue in queues:
            with contextlib.suppress(pika.exceptions.AMQPError):
                self.channel.queue_delete(queue)

    def delete_exchange(self, *exchanges: str) -> None:
        for exchange in exchanges:
            with contextlib.suppress(pika.exceptions.AMQPError):
                self.channel.exchange_delete(exchange)

    def await_ready(self, queue: str, count: int) -> None:
        """Until this many are ready: what a connection had that is gone comes back after a while."""
        eventually(lambda: (self.count(queue) or 0) >= count, f"{count} messages are ready in {queue}")


@contextlib.contextmanager
def side_of(address: Address) -> Iterator[Side]:
    side = Side(address)
    try:
        yield side
    finally:
        side.retire()
