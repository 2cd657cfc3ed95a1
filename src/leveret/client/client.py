"""The client: one object for all that an application does with a broker, over as many connections as it takes.

    connect -> [ connected | lost: back-off, connect, declare again, consume again, send again ] -> close

It leads from one connection to the next, and hands everything else to those who know: publisher, control, consumers,
calls. Nothing here is shared between clients; a client belongs to one event loop and one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from leveret.client import features as of_broker
from leveret.client.backoff import Backoff
from leveret.client.calls import Calls, OnReply, Replies, default_replies
from leveret.client.connector import Connector
from leveret.client.consumer import Consumer, Declare
from leveret.client.control import Control
from leveret.client.declaring import Declaring
from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Handling, Message
from leveret.client.features import Features, ServerInfo
from leveret.client.handling import Serving
from leveret.client.link import Link
from leveret.client.payload import Payloads
from leveret.client.publisher import PUBLISH_CHANNEL, Buffer, OnOutcome, Publisher
from leveret.client.pull import Puller
from leveret.client.stats import Stats
from leveret.client.targets import TOPICS, Options, Target
from leveret.client.topology import Binding, Queue
from leveret.errors import Closed, Disconnected, InvalidMessage, LeveretError, Refused
from leveret.wire import methods, requests

log = logging.getLogger("leveret.client")

FORCED = 320  # connection.close of a broker that stops


class Client(Declaring):
    """Made by `leveret.connect`. `async with` opens and closes it; all its waiting can be cancelled.

    `server` and `features` tell who answered, and `link` is the connection of this moment.
    """

    def __init__(
        self,
        connector: Connector,
        payloads: Payloads,
        buffer: Buffer,
        backoff: Backoff | None,
        on_outcome: OnOutcome | None,
    ) -> None:
        self.id = secrets.token_hex(4)
        self.payloads = payloads
        self.backoff = backoff if backoff is not None else Backoff()
        self.reconnects = backoff is not None
        self.publisher = Publisher(payloads, buffer, self._ask)
        self.publisher.on_outcome = on_outcome
        self.publisher.demand = self.demand
        self.server = ServerInfo()
        self.features = Features()
        self.link: Link | None = None
        self.consumers: set[Consumer] = set()
        self.retried = 0
        self.rejected = 0
        self._connector = connector
        self._times_up = 0
        self._past: list[int] = [0, 0, 0, 0]  # of channels that are gone: delivered, acked, requeued, nacked
        self._state: Literal["new", "open", "closed"] = "new"
        self._end: LeveretError = Closed("the client was closed")
        self._suspect = False  # a message may have ended the last connection
        self._waiting: list[asyncio.Future[Link]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pid = 0

    # ---- life

    async def open(self) -> None:
        """Connect. Raises ConnectFailed, which says why for every address."""
        if self._state != "new":
            raise Closed("a client is opened once; make another with connect()")
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self.control = Control(self)
        self._calls = Calls(self)
        self._pullers: dict[str, Puller] = {}
        self._replies: dict[str, Replies] = {}
        self._state = "open"
        try:
            link = await self._connector.connect(self.publisher.outbox)
            await self._restore(link)
        except BaseException:
            self._state = "new"
            raise
        self.spawn(self._lead(link))

    async def close(self, flush_s: float = 10.0) -> None:
        """Wait for confirms of what was sent, for at most `flush_s`; stop consuming; hang up. Repeated calls do nothing."""
        if self._state != "open":
            self._state = "closed"
            return
        if self.link is not None and self.publisher.outbox.waiting():
            with contextlib.suppress(TimeoutError, LeveretError):
                await self.publisher.flush(flush_s)
        for consumer in list(self.consumers):
            await consumer.close()
        self._state = "closed"
        link, self.link = self.link, None
        if link is not None:
            await link.close()
        self._finish(self._end)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self.link is not None

    @property
    def stats(self) -> Stats:
        """A snapshot of what this client has done."""
        outbox = self.publisher.outbox
        counts = list(self._past)
        if self.link is not None:
            for channel in self.link.inbox.channels.values():
                counts = [a + b for a, b in zip(counts, counts_of(channel), strict=True)]
        return Stats(
            posted=self.publisher.posted,
            confirmed=outbox.confirmed,
            refused=outbox.refused,
            unroutable=outbox.unroutable,
            resent=outbox.resent,
            dropped=self.publisher.dropped,
            buffered=outbox.waiting(),
            buffered_bytes=outbox.waiting_bytes(),
            delivered=counts[0],
            acked=counts[1],
            released=counts[2],
            rejected=self.rejected + counts[3],
            retried=self.retried,
            reconnects=max(0, self._times_up - 1),
            blocked=self.link.blocked if self.link is not None else "",
        )

    # ---- from one connection to the next

    async def _lead(self, link: Link) -> None:
        while True:
            error = await asyncio.shield(link.lost)
            if self._state == "closed":
                return
            self._down(error)
            if not self.reconnects:
                self._state = "closed"
                self._end = Disconnected(error.text)
                self._finish(self._end)
                return
            link = await self._up_again()

    def _down(self, error: LeveretError) -> None:
        self.link = None
        log.warning("the connection to %s is lost: %s", self._connector.address.place, error.text)
        if isinstance(error, Refused) and error.code != FORCED and error.method == methods.BASIC_PUBLISH:
            self._blame(error)

    async def _up_again(self) -> Link:
        backoff = self.backoff.fresh()
        while True:
            try:
                link = await self._connector.connect(self.publisher.outbox)
                await self._restore(link)
            except LeveretError as error:
                delay_s = backoff.next_s()
                log.warning("%s; trying again in %.1f s", error.text, delay_s)
                await asyncio.sleep(delay_s)
            else:
                log.info("connected to %s again", self._connector.address.place)
                return link

    async def _restore(self, link: Link) -> None:
        """All that the last connection had. Raises Disconnected."""
        try:
            info, features = of_broker.read(link.server_properties)
            if (info.product, info.version) != (self.server.product, self.server.version):
                self.publisher.forget_templates()
            self.server, self.features = info, features
            self.publisher.delayed = None if features.delays else self._delayed
            await self.control.declare_all(link)
            await self._open_publishing(link)
        except BaseException:
            link.fail(Disconnected("the connection could not be set up"))
            raise
        self.link = link
        self._times_up += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(link)
        for consumer in list(self.consumers):
            consumer.resume()

    async def _open_publishing(self, link: Link) -> None:
        outbox = self.publisher.outbox
        link.on_confirms = self.publisher.drain
        await link.open_channel(Publishing(self, link), Handling(), outbox, False, PUBLISH_CHANNEL)
        await link.ask(
            PUBLISH_CHANNEL,
            lambda out: requests.confirm_select(out, PUBLISH_CHANNEL),
            methods.CONFIRM_SELECT_OK,
        )
        outbox.reopen(self._suspect, link.frame_max_bytes)
        self._suspect = False
        link.publishing = True
        link.output.ask()

    def publishing_closed(self, link: Link, error: LeveretError) -> None:
        """The broker closed the channel of our messages: one of them is to blame, or a delay queue."""
        log.warning("the broker closed the channel of what is published: %s", error.text)
        if isinstance(error, Refused) and error.method in (0, methods.BASIC_PUBLISH):
            self._blame(error)
        self.spawn(self._publish_again(link))

    def _blame(self, error: Refused) -> None:
        """One message in flight: it is the one. Several: send them again one by one, until it shows."""
        if self.publisher.outbox.in_flight() == 1:
            self.publisher.give_up_first(error)
        self._suspect = True

    async def _publish_again(self, link: Link) -> None:
        try:
            await self._open_publishing(link)
        except Disconnected:
            return
        except LeveretError as error:
            link.fail(Disconnected(f"no channel for messages: {error.text}"))

    def _finish(self, error: LeveretError) -> None:
        """Nobody waits for anything any more."""
        self.publisher.fail(error)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for consumer in list(self.consumers):
            consumer.fail(error)

    # ---- for the parts

    def check_open(self) -> None:
        """Raises Closed, Disconnected where nothing can be done any more."""
        if self._state == "closed":
            raise self._end
        if self._state == "new":
            raise Closed("the client is not open: use 'async with', or await open() first")
        if self._pid != os.getpid():
            raise Closed(
                "this client belongs to the process that this one was forked from: make another here"
            )

    async def wait_link(self) -> Link:
        """The connection; waits until there is one. Raises Closed, Disconnected."""
        self.check_open()
        if self.link is not None and not self.link.lost.done():
            return self.link
        future: asyncio.Future[Link] = self._loop.create_future()
        self._waiting.append(future)
        return await future

    def demand(self, feature: str, what: str) -> None:
        """Raises Unsupported where the broker does not have it."""
        self.features.demand(feature, what, self.server)

    def _ask(self) -> None:
        if self._pid != os.getpid() or self._state != "open":
            self.check_open()
        if self.link is not None:
            self.link.output.ask()

    def _delayed(self, to: Target, delay_ms: int) -> Target:
        return self.control.delayed(to, delay_ms, PUBLISH_CHANNEL)

    def dead_letter_of(self, queue: Queue) -> str | None:
        """The queue for its dead letters."""
        if queue.dead_letter is not None or queue.retry is None:
            return queue.dead_letter
        wanted = queue.retry.dead_letter
        return wanted if isinstance(wanted, str) else f"{queue.name}.dead" if wanted else None

    def count(self, channel: Channel) -> None:
        """A channel is gone: keep its numbers."""
        self._past = [a + b for a, b in zip(self._past, counts_of(channel), strict=True)]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of this client, cancelled with it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a task of the client ended with %r", task.exception())

    def call_from_anywhere(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """From a finalizer, in whatever thread it runs."""
        if self._state == "open" and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self.spawn(make()) if self._state == "open" else None)

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
        """One message, or None if there is none; with a timeout, waits so long for one. Raises Refused."""
        puller = self._puller(queue)
        message = await puller.get()
        if message is not None or timeout_s is None:
            return message
        consumer = self.consume(queue, prefetch=1, declare=False)
        try:
            async with asyncio.timeout(timeout_s):
                await consumer.start()
                return await consumer.take()
        except (TimeoutError, StopAsyncIteration):
            return None
        finally:
            await consumer.close()

    async def drain(
        self, queue: str | Queue, *, limit: int | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Message]:
        """What is in the queue now, up to `limit`; ends when it is empty, or after `timeout_s`. Raises Refused."""
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


class Publishing:
    """Owner of the channel that messages go out by."""

    def __init__(self, client: Client, link: Link) -> None:
        self._client = client
        self._link = link

    def messages(self, messages: list[Message]) -> None:
        pass

    def event(self, event: Event) -> None:
        pass  # the answer to a declaration without one, or a return of a message that is not ours any more

    def emptied(self) -> None:
        pass

    def closed(self, error: LeveretError) -> None:
        if not self._link.lost.done():
            self._client.publishing_closed(self._link, error)


def counts_of(channel: Channel) -> list[int]:
    settling = channel.settling
    return [int(channel.delivered), int(settling.acked), int(settling.requeued), int(settling.nacked)]
