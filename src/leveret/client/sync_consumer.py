"""Messages and consumers for code without an event loop: deliveries come over in batches, and so do acks go back.

A consumer's deliveries are taken right from where the loop has put them; only who finds nothing there waits to be woken.
What is settled is put into a box that the loop empties. Knows the asyncio consumer, and threads; no sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Self, Unpack

from leveret.client.consumer import Consumer
from leveret.client.engine.message import Message
from leveret.client.targets import Options
from leveret.client.thread import Box, LoopThread, Waiting
from leveret.errors import AlreadySettled, Closed, InvalidMessage, Reject, RetryLater, Stale

Settles = Box[Callable[[], object]]


class SyncMessage:
    """A delivery, as `Message` is one for asyncio: the same names, and nothing to await.

    It is settled once, by any thread: acked, released, retried or rejected. `with message:` acks it at the end, rejects or
    retries it for `leveret.Reject` and `leveret.RetryLater`, retries it for any other error, and releases it for Ctrl-C.
    """

    __slots__ = ("_message", "_moving", "_settles", "_thread")

    def __init__(self, message: Message, settles: Settles, thread: LoopThread) -> None:
        self._message = message
        self._settles = settles
        self._thread = thread
        self._moving = False

    # ---- what it says

    @property
    def body(self) -> bytes:
        """The body, decompressed. Raises InvalidMessage."""
        return self._message.body

    @property
    def raw(self) -> bytes:
        """The body as it came."""
        return self._message.raw

    @property
    def data(self) -> Any:
        """The body as a value, as its content type has it. Raises InvalidMessage."""
        return self._message.data

    def decode(self, into: Any) -> Any:
        """The body as a value of this type. Raises InvalidMessage, which names the field that does not fit."""
        return self._message.decode(into)

    @property
    def headers(self) -> dict[str, object]:
        return self._message.headers

    @property
    def message_id(self) -> str | None:
        return self._message.message_id

    @property
    def correlation_id(self) -> str | None:
        return self._message.correlation_id

    @property
    def reply_to(self) -> str | None:
        return self._message.reply_to

    @property
    def content_type(self) -> str | None:
        return self._message.content_type

    @property
    def content_encoding(self) -> str | None:
        return self._message.content_encoding

    @property
    def type(self) -> str | None:
        return self._message.type

    @property
    def app_id(self) -> str | None:
        return self._message.app_id

    @property
    def priority(self) -> int | None:
        return self._message.priority

    @property
    def timestamp(self) -> int | None:
        """Seconds since 1970."""
        return self._message.timestamp

    @property
    def persistent(self) -> bool:
        return self._message.persistent

    @property
    def redelivered(self) -> bool:
        return self._message.redelivered

    @property
    def attempts(self) -> int:
        """Which delivery this is, 1 for the first, as far as the broker or the headers tell."""
        return self._message.attempts

    @property
    def exchange(self) -> str:
        return self._message.exchange

    @property
    def key(self) -> str:
        return self._message.key

    @property
    def queue(self) -> str:
        """The queue it was consumed from."""
        return self._message.queue

    @property
    def size_bytes(self) -> int:
        return self._message.size_bytes

    @property
    def settled(self) -> bool:
        return self._moving or self._message.settled

    # ---- its end

    def ack(self) -> None:
        """It is done. Raises AlreadySettled, Stale, Closed; so do the others."""
        message = self._message
        if self._moving:
            raise AlreadySettled(f"this message of {self.queue!r} was settled already")
        message.hold()
        self._settles.put(message.finish)

    def release(self) -> None:
        """Back to its queue, at once, for whoever is next."""
        message = self._message
        if self._moving:
            raise AlreadySettled(f"this message of {self.queue!r} was settled already")
        message.hold()
        self._settles.put(message.undo)

    def retry(self, delay_s: float | None = None) -> None:
        """Back to its queue after a while: `delay_s`, or what the queue's policy says."""
        self._move(functools.partial(self._message.retry, delay_s))

    def reject(self, reason: str = "") -> None:
        """It will never do: to the dead letters, where there are some."""
        self._move(functools.partial(self._message.reject, reason))

    def _move(self, how: Callable[[], object]) -> None:
        """The loop settles it. Raises what that would raise, as far as it is known here."""
        if self._moving:
            raise AlreadySettled(f"this message of {self.queue!r} was settled already")
        self._message.hold()
        self._message.settled = False
        self._moving = True
        self._settles.put(how)

    def reply(self, body: object, **options: Unpack[Options]) -> None:
        """Send an answer to who asked. Raises InvalidMessage where nobody did."""
        if self.reply_to is None:
            raise InvalidMessage(f"a message of {self.queue!r} has no reply_to: nobody waits for an answer")

        async def answer() -> None:
            await self._message.reply(body, **options)

        self._thread.call(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.settled or not self._thread.running:
            return
        if error is None:
            self.ack()
        elif isinstance(error, Reject):
            self.reject(error.text)
        elif isinstance(error, RetryLater):
            self.retry(error.delay_s)
        elif isinstance(error, Exception):
            self.retry()
        else:
            self.release()

    def __repr__(self) -> str:
        return f"<Sync{repr(self._message)[1:]}"


class Feed:
    """The asyncio consumer's other half, for threads: takes out of it without awaiting, and is told when it has some.

    `popleft` of a deque is atomic, so that threads take while the loop adds; what is counted may be off by a few.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self._waiters: deque[Waiting[None]] = deque()
        consumer.on_ready = self._wake

    def _wake(self) -> None:
        """By the loop: there are messages, or it has ended."""
        waiters = self._waiters
        while waiters:
            try:
                waiters.popleft().set(None)
            except IndexError:  # its owner has just taken it out
                return

    def wait(self, thread: LoopThread, timeout_s: float | None) -> bool:
        """Until there may be something. False at the end. Raises what ended it; TimeoutError."""
        consumer = self.consumer
        if consumer.dropped:
            thread.call(consumer.revive)
        if not consumer.started and not consumer.ended:
            thread.call(consumer.start)
        waiting: Waiting[None] = Waiting()
        self._waiters.append(waiting)
        try:
            if consumer.ready:
                return True
            consumer.raise_error()
            if consumer.ended:
                return False
            thread.loop.call_soon_threadsafe(consumer.starving)
            thread.expect(waiting)
            thread.wait(waiting, timeout_s)
            return True
        finally:
            if not waiting.done:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiting)

    def owned(self) -> bool:
        """Whether a loop that begins now is what begins the consumer."""
        return self.consumer.dropped or not self.consumer.started

    async def close(self) -> None:
        """As the consumer's own, while threads may still take out of it."""
        closing = asyncio.ensure_future(self.consumer.close())
        await asyncio.sleep(0)  # from here on nothing is added
        ready = self.consumer.ready
        left = []
        while ready:
            left.append(ready.popleft())
        await closing
        for message in left:
            with contextlib.suppress(AlreadySettled, Stale):
                message.release()


class SyncConsumer:
    """Made by `SyncClient.consume` and `subscribe`. Iterate over it, or use it as a context manager first.

    It begins with the first message that is asked for, or with `with`. Leaving that, or the loop that began it, or `close`
    stops it; messages that were not handed out go back to their queue. Several threads may iterate over one consumer:
    each message goes to one of them.
    """

    def __init__(self, consumer: Consumer, settles: Settles, thread: LoopThread) -> None:
        self.queue = consumer.queue
        self._consumer = consumer
        self._settles = settles
        self._thread = thread
        self._feed = Feed(consumer)

    def start(self) -> None:
        """Begin to consume, and return when the broker has agreed. Raises Refused, Disconnected, Unsupported."""
        self._thread.call(self._consumer.start)

    def close(self) -> None:
        """Take no more. What was not handed out is released; what was can still be settled."""
        if self._thread.running:
            self._thread.call(self._feed.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[SyncMessage]:
        consumer = self._consumer
        owns = self._feed.owned()
        settles, thread = self._settles, self._thread
        ready, prefetch = consumer.ready, consumer.prefetch
        try:
            while True:
                try:
                    message = ready.popleft()
                except IndexError:
                    if not self._feed.wait(thread, None):
                        return
                    continue
                prefetch.taken += 1
                yield SyncMessage(message, settles, thread)
        finally:
            if owns and thread.running:
                consumer.drop()

    def take(self, timeout_s: float | None = None) -> SyncMessage | None:
        """The next message; None if none comes in time. Raises Closed when the consumer is closed, or what ended it."""
        consumer = self._consumer
        while True:
            try:
                message = consumer.ready.popleft()
            except IndexError:
                try:
                    if not self._feed.wait(self._thread, timeout_s):
                        raise Closed(f"the consumer of {self.queue!r} is closed") from None
                except TimeoutError:
                    return None
                continue
            consumer.prefetch.taken += 1
            return SyncMessage(message, self._settles, self._thread)

    def many(self, timeout_s: float | None = None) -> list[SyncMessage]:
        """All that is here, for who handles messages in batches; waits for one. Empty if none comes in time. Raises as
        `take`."""
        found: list[SyncMessage] = []
        first = self.take(timeout_s)
        while first is not None:
            found.append(first)
            first = self.take(0.0) if self._consumer.ready else None
        return found

    def __del__(self) -> None:
        consumer = self._consumer
        if self._thread.running and consumer.started and not consumer.ended:
            consumer.drop()
