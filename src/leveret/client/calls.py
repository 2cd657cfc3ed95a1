"""Answers: `call`, which waits for one, and `request`, whose callback is told of it later.

Calls use RabbitMQ's direct reply-to: no queue, and no answer after the connection is lost, which the caller is told.
Requests use a reply queue that outlives connections, and with a name of its own also the caller's restart.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Message
from leveret.client.engine.outbox import Template, encode
from leveret.client.handling import DIRECT_REPLY, Serving
from leveret.client.link import Owner
from leveret.client.outcomes import settle
from leveret.client.publisher import route
from leveret.client.targets import Options, Target, target
from leveret.client.topology import Queue
from leveret.errors import CallFailed, CallTimeout, Disconnected, InvalidMessage, LeveretError, Unroutable
from leveret.wire import methods, requests
from leveret.wire.properties import CORRELATION_ID, encode_properties, text_at
from leveret.wire.signatures import decode_method

if TYPE_CHECKING:
    from leveret.client.client import Client
    from leveret.client.consumer import Consumer
    from leveret.client.link import Link

log = logging.getLogger("leveret.client")

CALLS_CHANNEL: Final = 3
REPLIES_EXPIRE_S: Final = 1800.0
REPLIES_AHEAD: Final = 500

OnReply = Callable[[Message], object]


class Calls(Owner):
    """All calls of a client that wait for their answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._channel: Channel | None = None
        self._link: Link | None = None
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._number = 0
        self._opening = asyncio.Lock()

    async def call(
        self, to: str | Target, body: object, timeout_s: float | None, options: Options
    ) -> Message:
        where = target(to)
        for name in ("delay_s", "at", "reply_to", "correlation_id"):
            if name in options:
                raise InvalidMessage(f"a call takes no {name}: use request() for an answer that comes later")
        try:
            async with asyncio.timeout(timeout_s):
                link, channel = await self._open()
                future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
                self._number += 1
                key = f"{self._number:x}"
                self._waiting[key] = future
                try:
                    link.output.write(self._frames(link, channel, where, body, key, timeout_s, options))
                    link.flush()
                    link.polling.begin()
                    answer = await future
                finally:
                    self._waiting.pop(key, None)
        except TimeoutError:
            raise CallTimeout(f"no answer from {where} within {timeout_s:g} s") from None
        text = answer.error
        if text is not None:
            raise CallFailed(text, str(answer.headers.get("x-error-type", "")))
        return answer

    def _frames(
        self,
        link: Link,
        channel: Channel,
        to: Target,
        body: object,
        key: str,
        timeout_s: float | None,
        options: Options,
    ) -> bytes:
        given = cast(
            Options, {"persistent": False, **options, "reply_to": DIRECT_REPLY, "correlation_id": key}
        )
        if timeout_s is not None and "expires_s" not in options:
            given["expires_s"] = timeout_s  # nobody waits any longer
        data, properties, where = self._client.publisher.content(to, body, given)
        template = Template(channel.number, route(where), True, encode_properties(properties), b"", False)
        return encode(template, channel.number, data, link.frame_max_bytes)

    async def _open(self) -> tuple[Link, Channel]:
        async with self._opening:
            link = await self._client.wait_link()
            if self._channel is None or self._link is not link:
                channel = await link.open_channel(
                    self, Serving(self._client, DIRECT_REPLY), None, True, CALLS_CHANNEL
                )
                number = channel.number
                try:
                    await link.ask(
                        number,
                        lambda out: requests.basic_consume(out, number, DIRECT_REPLY, "calls", False, True),
                        methods.BASIC_CONSUME_OK,
                    )
                except BaseException:
                    link.leave_channel(channel)
                    raise
                self._channel, self._link = channel, link
            return link, self._channel

    # ---- for the link

    def messages(self, messages: list[Message]) -> None:
        for message in messages:
            future = self._waiting.get(message.correlation_id or "")
            if future is not None and not future.done():
                future.set_result(message)

    def event(self, event: Event) -> None:
        if event.method == methods.BASIC_RETURN:
            fields = decode_method(event.payload).fields
            key = text_at(event.header, 12, len(event.header), CORRELATION_ID)
            future = self._waiting.get(key or "")
            if future is not None and not future.done():
                where = target(Target(str(fields["exchange"]), str(fields["routing_key"])))
                future.set_exception(Unroutable(f"nobody serves {where} ({fields['reply_text']})"))

    def closed(self, error: LeveretError) -> None:
        self._channel = self._link = None
        waiting, self._waiting = self._waiting, {}
        text = f"the connection was lost while an answer was due; the work may be done or not: {error.text}"
        for future in waiting.values():
            settle(cast("asyncio.Future[None]", future), Disconnected(text))


class Replies:
    """One reply queue: requests that are out, and who is told of what comes."""

    def __init__(self, client: Client, queue: Queue) -> None:
        self.queue = queue.name
        self.otherwise: OnReply | None = None  # for answers to requests of an earlier run
        self._client = client
        self._spec = queue
        self._callbacks: dict[str, OnReply] = {}
        self._unclaimed: list[Message] = []
        self._consumer: Consumer | None = None
        self._started: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The queue exists, and is consumed from. Any number of callers may wait for it."""
        if self._started is None or (self._started.done() and self._failed(self._started)):
            self._started = self._client.spawn(self._start())
        await asyncio.shield(self._started)

    @staticmethod
    def _failed(task: asyncio.Task[None]) -> bool:
        return task.cancelled() or task.exception() is not None

    async def _start(self) -> None:
        consumer = self._client.consume(self._spec, prefetch=REPLIES_AHEAD)
        await consumer.start()
        self._consumer = consumer
        self._task = self._client.spawn(self._run(consumer))

    def expect(self, key: str, callback: OnReply) -> None:
        self._callbacks[key] = callback

    def forget(self, key: str) -> None:
        self._callbacks.pop(key, None)

    def claim(self, callback: OnReply) -> None:
        """From now on `callback` gets what nobody else waits for, beginning with what has come."""
        self.otherwise = callback
        unclaimed, self._unclaimed = self._unclaimed, []
        for message in unclaimed:
            self._client.spawn(self._tell(callback, message))

    async def _run(self, consumer: Consumer) -> None:
        async for message in consumer:
            callback = self._callbacks.pop(message.correlation_id or "", None) or self.otherwise
            if callback is not None:
                await self._tell(callback, message)
            elif self._spec.expires_s is not None:
                message.ack()  # an answer to somebody who is gone
            else:
                self._unclaimed.append(message)

    async def _tell(self, callback: OnReply, message: Message) -> None:
        try:
            found = callback(message)
            if inspect.isawaitable(found):
                await cast(Awaitable[object], found)
        except Exception:
            log.exception("the callback for an answer failed; it gets it again later")
            if not message.settled:
                self._callbacks.setdefault(message.correlation_id or "", callback)
                message.retry()
        else:
            if not message.settled:
                message.ack()


def default_replies(client_id: str) -> Queue:
    """The reply queue of a client that names none: gone when nobody has used it for a while."""
    return Queue(f"leveret.replies.{client_id}", expires_s=REPLIES_EXPIRE_S)
