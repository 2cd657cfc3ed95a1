"""A consumer: a channel of its own, from which messages are taken one by one, over all the connections there are.

The client tells it when there is a new connection; a channel that the broker closed, or a cancel that it sent, makes it
begin again by itself. What was buffered when a channel went is forgotten: the broker delivers it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Message
from leveret.client.handling import Serving
from leveret.client.link import CLOSE_TIMEOUT_S, Owner
from leveret.client.prefetch import Prefetch
from leveret.client.topology import Queue
from leveret.errors import ClientError, Closed, Disconnected, LeveretError, Refused
from leveret.wire import methods, requests
from leveret.wire.signatures import decode_method
from leveret.wire.table import encode_table

if TYPE_CHECKING:
    from leveret.client.client import Client
    from leveret.client.link import Link

log = logging.getLogger("leveret.client")

LOOK_S = 0.25
ALONE = 250  # fetched ahead by a single active consumer that was given no number

Declare = Literal["yes", "no", "look"]  # look: only the name is known, and what is there is taken as it is


class Messages:
    """One `async for` over a consumer. When it is left, a consumer that began with it stops."""

    __slots__ = ("_consumer", "_owns")

    def __init__(self, consumer: Consumer, owns: bool) -> None:
        self._consumer = consumer
        self._owns = owns

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self._consumer.take()

    def __del__(self) -> None:
        if self._owns:
            self._consumer.drop()


class Consumer(Owner):
    """Made by `Client.consume` and `Client.subscribe`. Iterate over it, or use it as a context manager first.

    It begins with the first message that is asked for, or with `async with`. Leaving that, or the loop that began it, or
    `close` stops it; messages that were not handed out go back to their queue.
    """

    def __init__(
        self,
        client: Client,
        queue: Queue,
        declare: Declare,
        prefetch: int | Literal["auto"],
        exclusive: bool,
        priority: int | None,
        auto_ack: bool,
        arguments: dict[str, object],
    ) -> None:
        self.queue = queue.name
        self.handling = Serving(client, queue.name, queue.retry, client.dead_letter_of(queue))
        self._client = client
        self._spec = queue
        self._declare = declare
        alone = queue.single_active or bool(queue.arguments.get("x-single-active-consumer"))
        # a fixed one: to begin anew with another would hand its turn to a clone, which takes nothing from it meanwhile
        self.prefetch = Prefetch(ALONE if alone and prefetch == "auto" else prefetch)
        self._exclusive = exclusive
        self._no_ack = auto_ack
        self._arguments = dict(arguments)
        if priority is not None:
            self._arguments["x-priority"] = priority
        self.ready: deque[Message] = deque()  # here, and not handed out
        self.on_ready: Callable[[], None] | None = None  # told when there are some, or it has ended
        self._waiter: asyncio.Future[None] | None = None
        self._error: LeveretError | None = None
        self._channel: Channel | None = None
        self._link: Link | None = None
        self.started = False
        self._running = False  # it has begun once: from then on it begins again by itself
        self._stale = False  # the broker has ended it since it was begun last
        self.ended = False
        self.dropped = False
        self._closing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None  # that begins again
        self._adjusting: asyncio.Task[None] | None = None
        self._asked = 0  # the prefetch of the consumer that is there
        self._looking: asyncio.TimerHandle | None = (
            None  # whether prefetch is still right, when nothing comes
        )
        self._tag = 0  # of the consumer on its channel: adjusting the prefetch makes a new one

    # ---- for the application

    async def start(self) -> None:
        """Begin to consume, and return when the broker has agreed. Raises Refused, Disconnected, Unsupported."""
        if self.started:
            return
        self._client.check_open()
        self.started = True
        self._running = False
        self._client.consumers.add(self)
        try:
            while True:
                link = await self._client.wait_link()
                try:
                    await self._begin(link)
                    break
                except Disconnected:
                    if not self._client.reconnects:
                        raise
        except BaseException:
            self.started = False
            self._client.consumers.discard(self)
            raise
        self._running = True
        self._look()
        if self._stale:
            self._again()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Messages:
        return Messages(self, not self.started or self.dropped)

    async def take(self) -> Message:
        """The next message. Raises StopAsyncIteration when the consumer is closed, or what ended it."""
        if self.dropped or not self.ready:
            await self._more()
        self.prefetch.taken += 1
        return self.ready.popleft()

    async def many(self, limit: int | None = None) -> list[Message]:
        """What is here, up to `limit`, at least one; for who handles messages in batches. Raises StopAsyncIteration at
        the end, or what ended it."""
        if self.dropped or not self.ready:
            await self._more()
        ready = self.ready
        if limit is None or limit >= len(ready):
            messages = list(ready)
            ready.clear()
        else:
            messages = [ready.popleft() for _ in range(limit)]
        self.prefetch.taken += len(messages)
        return messages

    async def _more(self) -> None:
        if self.dropped:
            await self.revive()
        if not self.started and not self.ended:
            await self.start()
        while not self.ready:
            self.raise_error()
            if self.ended:
                raise StopAsyncIteration
            self.starving()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def raise_error(self) -> None:
        """What has ended it, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def close(self) -> None:
        """Take no more. What was not handed out is released; what was can still be settled."""
        async with self._closing:
            await self._close()

    async def _close(self) -> None:
        if self.ended:
            return
        self.ended = True
        try:
            await self._stop()
        finally:
            self._client.consumers.discard(self)  # not before: a client that closes waits for it

    async def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._task is not None:
            self._task.cancel()
        channel, link = self._channel, self._link
        if channel is not None and link is not None:
            with contextlib.suppress(ClientError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await link.ask(
                        channel.number,
                        lambda out: methods.basic_cancel(out, channel.number, self._tag_text(), False),
                        methods.BASIC_CANCEL_OK,
                    )
            for message in self.ready:
                if channel.settling.alive and not message.settled:
                    message.release()
            channel.settling.ending = True
            if channel.settling.unsettled == 0:
                await link.close_channel(channel)
                self._let_go()
        self.ready.clear()
        self._wake()

    def drop(self) -> None:
        """The loop that began it was left: stop, until it is iterated over again."""
        if not self.ended:
            self.dropped = True
            self._client.call_from_anywhere(self._close_dropped)

    async def _close_dropped(self) -> None:
        async with self._closing:
            if self.dropped:
                await self._close()

    async def revive(self) -> None:
        """It is iterated over again."""
        async with self._closing:
            await self._close()
            self.dropped = self.ended = self.started = False

    # ---- for the link

    def messages(self, messages: list[Message]) -> None:
        if self.ended:
            for message in messages:
                if not message.settled:
                    message.release()
            return
        self.ready.extend(messages)
        self._wake()
        if self.prefetch.is_auto and self.prefetch.looks_due():
            self._adjust()

    def event(self, event: Event) -> None:
        if event.method == methods.BASIC_CANCEL:
            tag = decode_method(event.payload).fields["consumer_tag"]
            if tag == self._tag_text() and not self.ended:
                log.warning("the broker cancelled the consumer of %r; it begins again", self.queue)
                self._again()

    def emptied(self) -> None:
        if self.ended and self._channel is not None and self._link is not None:
            self._client.spawn(self._link.close_channel(self._channel))
            self._let_go()

    def closed(self, error: LeveretError) -> None:
        """Our channel has ended, with its connection or alone."""
        link = self._link
        self._let_go()
        self.ready.clear()
        if self.ended:
            return
        if isinstance(error, Closed) or not self._client.reconnects:
            self.fail(error)
        elif link is not None and not link.lost.done():
            log.warning("the broker closed the channel of the consumer of %r: %s", self.queue, error.text)
            self._again()

    def fail(self, error: LeveretError) -> None:
        """It ends with this error."""
        self._error = None if isinstance(error, Closed) else error
        self.ended = True
        self._client.consumers.discard(self)
        self._wake()

    # ---- beginning, and beginning again

    def resume(self) -> None:
        """There is a new connection."""
        if self.started and not self.ended:
            self._again()

    def _again(self) -> None:
        """Whoever is at it sees to it: the first start, the task that adjusts or begins again, or a new one."""
        self._stale = True
        if self._running and (self._task is None or self._task.done()):
            self._task = self._client.spawn(self._restart())

    async def _restart(self) -> None:
        """Until it works, or the connection ends: then `resume` comes."""
        backoff = self._client.backoff.fresh()
        while self._stale and not self.ended:
            link = self._client.link
            if link is None:
                return
            try:
                old = self._channel
                self._let_go()
                if old is not None:
                    self.ready.clear()
                    await link.close_channel(old)
                await self._begin(link)
                continue
            except Disconnected:
                continue  # unless `resume` came since, this is the end
            except LeveretError as error:
                self._stale = True
                log.warning("consuming from %r does not work yet: %s", self.queue, error.text)
            await asyncio.sleep(backoff.next_s())

    async def _begin(self, link: Link) -> None:
        self._stale = False
        if self._declare == "yes":
            await self._client.control.declare_for(self._spec, link)
        elif self._declare == "look":
            await self._client.control.look_or_declare(self._spec, link)
        channel = await link.open_channel(self, self.handling, None, self._no_ack)
        self._channel, self._link = channel, link
        try:
            await self._consume(link, channel)
        except BaseException:
            self._let_go()
            self.ready.clear()
            link.leave_channel(channel)
            raise

    async def _consume(self, link: Link, channel: Channel) -> None:
        number, prefetch = channel.number, self.prefetch.count
        self._asked = prefetch
        self._tag += 1
        table = encode_table(self._arguments)

        if not self._no_ack:
            await link.ask(
                number, lambda out: requests.basic_qos(out, number, prefetch), methods.BASIC_QOS_OK
            )
            if self._channel is not channel:  # its number may be another's by now
                raise Disconnected("the channel was closed")
        await link.ask(
            number,
            lambda out: requests.basic_consume(
                out, number, self.queue, self._tag_text(), False, self._no_ack, self._exclusive, False, table
            ),
            methods.BASIC_CONSUME_OK,
        )

    def _tag_text(self, tag: int = 0) -> str:
        return f"leveret-{self._client.id}-{tag or self._tag}"

    def _let_go(self) -> None:
        if self._channel is not None:
            self._client.count(self._channel)
        self._channel = self._link = None

    def _wake(self) -> None:
        if self.on_ready is not None:
            self.on_ready()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- prefetch

    def starving(self) -> None:
        """Somebody waits, and nothing is here: see to it that it is not for want of prefetch."""
        channel = self._channel
        if channel is not None and self.prefetch.starves(int(channel.settling.unsettled)):
            self._ask_anew()

    def _look(self) -> None:
        """Also when nothing comes: a consumer that has become slow has enough, and more than its clones would like."""
        self._looking = None
        if self.ended or self._no_ack or not self.prefetch.is_auto:
            return
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        if self.ready and self.prefetch.looks_due():
            self._adjust()

    def _adjust(self) -> None:
        channel = self._channel
        if channel is not None and self.prefetch.adapt(int(channel.settling.unsettled) - len(self.ready)):
            self._ask_anew()

    def _give_back(self, channel: Channel) -> None:
        """Less is asked for than is here: the rest is for clones. The last first, and each goes to its old place."""
        if self.on_ready is not None:
            return  # another thread takes from what is here
        in_work = int(channel.settling.unsettled) - len(self.ready)
        for _ in range(len(self.ready) - max(0, self.prefetch.count - in_work)):
            message = self.ready.pop()
            if not message.settled:
                message.release()

    def _ask_anew(self) -> None:
        if self._no_ack or self._exclusive:
            return  # without acks there is no prefetch, and an exclusive consumer cannot be beside another
        if self._adjusting is None or self._adjusting.done():
            self._adjusting = self._client.spawn(self._consume_anew())

    async def _consume_anew(self) -> None:
        """A consumer's prefetch is fixed when it begins: begin another, then cancel the first. Nothing is lost between."""
        link, channel, old, asked = self._link, self._channel, self._tag_text(), 0
        if link is None or channel is None:
            return
        with contextlib.suppress(Disconnected, Refused):
            while asked != self.prefetch.count and self._channel is channel and not self.ended:
                before, asked = asked or self._asked, self.prefetch.count
                await self._consume(link, channel)
                if self._channel is not channel:
                    return
                await link.ask(
                    channel.number,
                    lambda out, tag=old: methods.basic_cancel(out, channel.number, tag, False),  # type: ignore[misc]
                    methods.BASIC_CANCEL_OK,
                )
                old = self._tag_text()
                if asked < before and self._channel is channel and not self.ended:
                    self._give_back(channel)
