"""The client: one object for all that an application does with a broker, over as many connections as it takes.

This is its face: sending, answers, taking. Each is done by a part of its own; leading.py has the connections.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from typing import Literal, Unpack

from leveret.client.calls import OnReply, Replies, default_replies
from leveret.client.consumer import Consumer, Declare
from leveret.client.declaring import Declaring
from leveret.client.engine.message import Message
from leveret.client.handling import Serving
from leveret.client.leading import Leading
from leveret.client.outcomes import OnOutcome
from leveret.client.pull import Puller
from leveret.client.targets import TOPICS, Options, Target
from leveret.client.topology import Binding, Queue
from leveret.errors import Closed, InvalidMessage


class Client(Leading, Declaring):
    """Made by `leveret.connect`. `async with` opens and closes it; all its waiting can be cancelled.

    `server` and `features` tell who answered, and `stats` what was done.
    """

    # ---- sending

    async def publish(
        self, to: str | Target, body: object, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> None:
        """Send, and return when the broker has it.

        Raises Unroutable, NotConfirmed, Refused, InvalidMessage, Unsupported, Disconnected (only without reconnecting),
        TimeoutError; after that, and after being cancelled, the message may still be sent.
        """
        await self.publisher.publish(to, body, timeout_s, options)

    def post(
        self,
        to: str | Target,
        body: object,
        *,
        on_outcome: OnOutcome | None = None,
        **options: Unpack[Options],
    ) -> Awaitable[None]:
        """Hand over and go on. It is confirmed, and sent again if need be, in the background.

        What is returned need not be awaited; awaiting it waits for room in the buffer. Raises BufferFull,
        InvalidMessage, Unsupported, Closed. `on_outcome` is told how it ended.
        """
        return self.publisher.post(to, body, on_outcome, options)

    async def publish_many(
        self,
        to: str | Target,
        bodies: Iterable[object],
        *,
        timeout_s: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Send them all, and return when the broker has them. The first error is raised, when all have ended."""
        await self.publisher.publish_many(to, bodies, timeout_s, options)

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that was sent or posted has its outcome. Raises TimeoutError, Closed."""
        self.check_open()
        await self.publisher.flush(timeout_s)

    # ---- answers

    async def call(
        self, to: str | Target, body: object, *, timeout_s: float | None = 30.0, **options: Unpack[Options]
    ) -> Message:
        """Ask, and wait for the answer. Raises CallTimeout, CallFailed, Unroutable, Disconnected."""
        return await self._calls.call(to, body, timeout_s, options)

    async def request(
        self,
        to: str | Target,
        body: object,
        *,
        on_reply: OnReply,
        reply_queue: str | None = None,
        **options: Unpack[Options],
    ) -> str:
        """Ask, and go on: `on_reply` gets the answer when it comes. Returns the correlation id, once the broker has it.

        With `reply_queue`, a durable queue, answers outlive this process: see `on_reply`.
        """
        replies = self._replies_of(reply_queue)
        await replies.start()
        key = options.get("correlation_id") or secrets.token_hex(8)
        replies.expect(key, on_reply)
        try:
            given: Options = {**options, "reply_to": replies.queue, "correlation_id": key}
            await self.publisher.publish(to, body, None, given)
        except BaseException:
            replies.forget(key)
            raise
        return key

    async def on_reply(self, reply_queue: str, callback: OnReply) -> None:
        """Tell `callback` of answers in this queue that nobody waits for: those to requests of an earlier run."""
        replies = self._replies_of(reply_queue)
        replies.claim(callback)
        await replies.start()

    def _replies_of(self, name: str | None) -> Replies:
        self.check_open()
        queue = Queue(name) if name is not None else default_replies(self.id)
        found = self._replies.get(queue.name)
        if found is None:
            found = self._replies[queue.name] = Replies(self, queue)
        return found

    # ---- taking

    def consume(
        self,
        queue: str | Queue,
        *,
        prefetch: int | Literal["auto"] = "auto",
        declare: bool = True,
        exclusive: bool = False,
        priority: int | None = None,
        auto_ack: bool = False,
        arguments: Mapping[str, object] | None = None,
    ) -> Consumer:
        """A consumer, to be iterated over. The queue is declared unless it was, or `declare` is False.

        A `Queue` says how; a name alone is what was declared before, or a durable queue. `prefetch` is how many messages may
        be here unsettled; 'auto' follows how fast they are worked through. Begins when iterated over; raises then.
        """
        spec = self._spec(queue)
        by_name = isinstance(queue, str) and queue not in self.control.record.queues
        how: Declare = "no" if not declare else "look" if by_name else "yes"
        return Consumer(self, spec, how, prefetch, exclusive, priority, auto_ack, dict(arguments or {}))

    def subscribe(
        self,
        pattern: str = "#",
        *,
        name: str | None = None,
        exchange: str = TOPICS,
        headers: Mapping[str, object] | None = None,
        match: Literal["all", "any"] = "all",
        selector: str | None = None,
        prefetch: int | Literal["auto"] = "auto",
        queue: Queue | None = None,
    ) -> Consumer:
        """A copy of everything that matches: a pattern of topics, or headers of messages to a headers exchange.

        With a `name` the subscription is a durable queue that gathers while nobody is there; without, it is gone with its
        connection. Raises Unsupported for a selector where the broker has none.
        """
        self.check_open()
        if selector is not None:
            self.demand("selectors", "a selector")
        arguments: tuple[tuple[str, object], ...] = ()
        if headers is not None:
            exchange = "amq.headers" if exchange == TOPICS else exchange
            arguments = (("x-match", match), *headers.items())
        spec = queue or Queue()
        if name is not None:
            spec = spec.named(name)
        elif not spec.name:
            spec = Queue(f"leveret.sub.{self.id}.{secrets.token_hex(4)}", durable=False, exclusive=True)
        self.control.record.add_binding(
            Binding(spec.name, exchange, pattern if headers is None else "", arguments)
        )
        return Consumer(self, spec, "yes", prefetch, False, None, False, {})

    async def get(self, queue: str | Queue, *, timeout_s: float | None = None) -> Message | None:
        """One message, or None if there is none; with a timeout, waits so long for one.

        Raises Refused, Closed (when the client is closed meanwhile), Disconnected (only without reconnecting).
        """
        puller = self._puller(queue)
        message = await puller.get()
        if message is not None or timeout_s is None:
            return message
        consumer = self.consume(queue, prefetch=1, declare=False)
        try:
            async with asyncio.timeout(timeout_s):
                await consumer.start()
                return await consumer.take()
        except TimeoutError:
            return None
        except StopAsyncIteration:  # nobody else has this consumer to end it, and the queue may not be empty
            raise Closed("the client was closed") from None
        finally:
            await consumer.close()

    async def drain(
        self, queue: str | Queue, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Message]:
        """What is in the queue now, up to `limit`; ends when it is empty, or after `timeout_s`.

        Raises Refused, Closed, and Disconnected when the connection is lost, with reconnecting too: what it has handed out
        comes again, and only another `drain` begins at the front of the queue.
        """
        deadline = None if timeout_s is None else self._loop.time() + timeout_s
        async for message in self._puller(queue).drain(limit):
            yield message
            if deadline is not None and self._loop.time() >= deadline:
                return

    def _puller(self, queue: str | Queue) -> Puller:
        self.check_open()
        spec = self._spec(queue)
        found = self._pullers.get(spec.name)
        if found is None:
            serving = Serving(self, spec.name, spec.retry, self.dead_letter_of(spec))
            found = self._pullers[spec.name] = Puller(self, serving)
        return found

    def _spec(self, queue: str | Queue) -> Queue:
        self.check_open()
        if isinstance(queue, Queue):
            return queue
        if not queue:
            raise InvalidMessage("a queue to consume from has a name; subscribe() makes one of its own")
        return self.control.record.queues.get(queue) or Queue(queue)
