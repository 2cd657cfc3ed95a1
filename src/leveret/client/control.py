"""Declaring, binding, deleting: a channel for what may be refused, one request at a time so that a refusal has one cause.

It keeps the record of what is to be declared again, and declares it. All requests may be repeated without harm, and
are, when the connection is lost in the middle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter

from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Handling
from leveret.client.link import Owner
from leveret.client.targets import Target
from leveret.client.topology import Binding, Exchange, Queue, QueueInfo, Record, check_name
from leveret.errors import Disconnected, LeveretError, Refused, Unsupported
from leveret.wire import methods, requests
from leveret.wire.signatures import decode_method

if TYPE_CHECKING:
    from leveret.client.client import Client
    from leveret.client.link import Link

log = logging.getLogger("leveret.client")

CONTROL_CHANNEL: Final = 2
DECLARED_FOR_S: Final = 30.0  # after which a delay queue is declared again, since it expires when it is not
DELAY_SPARE_MS: Final = 600_000
LONGEST_MS: Final = 2**32 - 1  # of RabbitMQ's x-expires and x-message-ttl
LONGEST_DELAY_MS: Final = LONGEST_MS - DELAY_SPARE_MS  # a queue outlives what is in it
NOT_FOUND: Final = 404
DIFFERENT: Final = 406  # the answer to declaring otherwise what is there

Put = Callable[[BytesWriter, int], None]


class Control(Owner):
    """Requests go over whatever connection the client has. `record` is what was declared through it."""

    def __init__(self, client: Client) -> None:
        self.record = Record()
        self._client = client
        self._channel: Channel | None = None
        self._link: Link | None = None
        self._lock = asyncio.Lock()
        self._delays: dict[
            str, float
        ] = {}  # delay queues of brokers without delays, and when they were declared

    # ---- one request

    async def ask(self, put: Put, answer: int) -> Event:
        """Raises Refused; Disconnected only where the client does not reconnect."""
        while True:
            link = await self._client.wait_link()
            try:
                return await self.ask_over(link, put, answer)
            except Disconnected:
                if not self._client.reconnects:
                    raise

    async def ask_over(self, link: Link, put: Put, answer: int) -> Event:
        """Over this connection and no other. Raises Refused, Disconnected."""
        async with self._lock:
            channel = self._channel
            if channel is None or self._link is not link:
                channel = await link.open_channel(self, Handling(), None, False, CONTROL_CHANNEL)
                self._channel, self._link = channel, link
            number = channel.number
            return await link.ask(number, lambda out: put(out, number), answer)

    def closed(self, error: LeveretError) -> None:
        self._channel = self._link = None

    # ---- queues

    async def declare_queue(self, queue: Queue) -> QueueInfo:
        check_name("queue", queue.name)
        link = await self._client.wait_link()
        try:
            info = await self.declare_over(queue, link)
        except Refused as error:
            if error.code != DIFFERENT:
                raise
            advice = "it is there with other settings: declare it as it is, or delete it first (`leveret delete queue`)"
            raise Refused(error.code, f"{error.text}; {advice}", error.method) from None
        if not queue.name:
            queue = queue.named(info.name)
        self.record.queues[queue.name] = queue
        return info

    async def declare_over(self, queue: Queue, link: Link) -> QueueInfo:
        """With the queue for its dead letters, if it names one. Raises Refused, Unsupported, Disconnected."""
        client = self._client
        for feature, what in queue.needs().items():
            client.demand(feature, what)
        dead = client.dead_letter_of(queue)
        if dead is not None:
            dead_queue = Queue(dead)
            await self.ask_over(
                link, lambda out, number: dead_queue.put(out, number, False), methods.QUEUE_DECLARE_OK
            )
            queue = queue.with_dead_letter(dead)
        with_retry = client.features.retry
        event = await self.ask_over(
            link, lambda out, number: queue.put(out, number, with_retry), methods.QUEUE_DECLARE_OK
        )
        return info_of(event)

    async def look_at_queue(self, name: str) -> QueueInfo:
        """Raises Refused with code 404 for one that is not there."""
        queue = Queue(name)
        event = await self.ask(
            lambda out, number: queue.put(out, number, False, passive=True), methods.QUEUE_DECLARE_OK
        )
        return info_of(event)

    async def delete_queue(self, name: str, if_unused: bool, if_empty: bool) -> int:
        event = await self.ask(
            lambda out, number: requests.queue_delete(out, number, name, if_unused, if_empty),
            methods.QUEUE_DELETE_OK,
        )
        self.record.forget_queue(name)
        return count_of(event)

    async def purge(self, name: str) -> int:
        event = await self.ask(
            lambda out, number: requests.queue_purge(out, number, name), methods.QUEUE_PURGE_OK
        )
        return count_of(event)

    # ---- exchanges and bindings

    async def declare_exchange(self, exchange: Exchange) -> None:
        check_name("exchange", exchange.name)
        await self.ask(exchange.put, methods.EXCHANGE_DECLARE_OK)
        self.record.exchanges[exchange.name] = exchange

    async def delete_exchange(self, name: str, if_unused: bool) -> None:
        await self.ask(
            lambda out, number: requests.exchange_delete(out, number, name, if_unused),
            methods.EXCHANGE_DELETE_OK,
        )
        self.record.forget_exchange(name)

    async def bind(self, binding: Binding) -> None:
        await self.ask(binding.put, binding.bound)
        self.record.add_binding(binding)

    async def unbind(self, binding: Binding) -> None:
        await self.ask(binding.put_unbind, binding.unbound)
        if binding in self.record.bindings:
            self.record.bindings.remove(binding)

    # ---- again

    async def declare_all(self, link: Link) -> None:
        """What was declared before, on a new connection. What is refused now is told in the log. Raises Disconnected."""
        self._delays.clear()
        record = self.record
        for exchange in list(record.exchanges.values()):
            await self._once_more(link, exchange.put, methods.EXCHANGE_DECLARE_OK, exchange)
        for binding in record.between_exchanges():
            await self._once_more(link, binding.put, binding.bound, binding)
        for queue in list(record.queues.values()):
            await self.declare_again(queue, link)

    async def look_or_declare(self, queue: Queue, link: Link) -> None:
        """A queue of which only the name is known: as it is, or as a durable one. Raises Refused, Disconnected."""
        try:
            await self.ask_over(
                link,
                lambda out, number: queue.put(out, number, False, passive=True),
                methods.QUEUE_DECLARE_OK,
            )
        except Refused as error:
            if error.code != NOT_FOUND:
                raise
            await self.declare_over(queue, link)

    async def declare_for(self, queue: Queue, link: Link) -> None:
        """A queue that a consumer is about to use, and its bindings. Raises what refuses them, Disconnected."""
        await self.declare_over(queue, link)
        for binding in self.record.bindings_of(queue.name):
            await self.ask_over(link, binding.put, methods.QUEUE_BIND_OK)

    async def declare_again(self, queue: Queue, link: Link) -> None:
        """A queue and its bindings. Raises Disconnected."""
        try:
            await self.declare_over(queue, link)
        except LeveretError as error:
            if isinstance(error, Disconnected):
                raise
            log.warning("queue %r cannot be declared again: %s", queue.name, error.text)
        for binding in self.record.bindings_of(queue.name):
            await self._once_more(link, binding.put, methods.QUEUE_BIND_OK, binding)

    async def _once_more(self, link: Link, put: Put, answer: int, what: object) -> None:
        try:
            await self.ask_over(link, put, answer)
        except Refused as error:
            log.warning("%r cannot be declared again: %s", what, error.text)

    # ---- delays where the broker has none

    def delayed(self, to: Target, delay_ms: int, publish_channel: int) -> Target:
        """A queue whose messages go on to `to` when they are `delay_ms` old: its time to live, and its dead letters.

        Declared on the channel of the messages, ahead of them, and again when it could be about to expire.
        """
        delay_ms = coarse(delay_ms)
        if delay_ms > LONGEST_DELAY_MS:
            raise Unsupported(
                f"a delay of {delay_ms / 86_400_000:.3g} days for {to}: a queue of this broker keeps messages for at most"
                f" {LONGEST_DELAY_MS // 86_400_000} days before they go on"
            )
        name = f"leveret.delay.{delay_ms}.{to.exchange + '.' if to.exchange else ''}{to.key}"
        check_name("delay queue", name)
        now_s = time.monotonic()
        if now_s - self._delays.get(name, -DECLARED_FOR_S) >= DECLARED_FOR_S:
            queue = Queue(
                name,
                arguments={
                    "x-message-ttl": delay_ms,
                    "x-dead-letter-exchange": to.exchange,
                    "x-dead-letter-routing-key": to.key,
                    "x-expires": min(2 * delay_ms + DELAY_SPARE_MS, LONGEST_MS),
                },
            )
            link = self._client.link
            if link is not None:
                self._delays[name] = now_s
                link.say(lambda out: queue.put(out, publish_channel, False, no_wait=True))
        return Target("", name)


def coarse(delay_ms: int) -> int:
    """Two digits of it, rounded up: each different delay is a queue."""
    step = 1
    while delay_ms > 99 * step:
        step *= 10
    return -(-delay_ms // step) * step


def info_of(event: Event) -> QueueInfo:
    fields = decode_method(event.payload).fields
    messages, consumers = fields["message_count"], fields["consumer_count"]
    assert isinstance(messages, int) and isinstance(consumers, int)
    return QueueInfo(str(fields["queue"]), messages, consumers)


def count_of(event: Event) -> int:
    count = decode_method(event.payload).fields["message_count"]
    assert isinstance(count, int)
    return count
