"""The part of a client for threads that sends: encoded on the caller's thread, put into a box, sent by the loop.

The bound of the buffer holds for what is in the outbox and what is on its way there, together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar, Unpack

from leveret.client.client import Client
from leveret.client.engine.outbox import Template
from leveret.client.outcomes import Awaited, OnOutcome, Outcome, Posted
from leveret.client.publisher import Publisher, several
from leveret.client.spooling import Spooling
from leveret.client.targets import Options, Target, target
from leveret.client.thread import Box, LoopThread, Waiting
from leveret.errors import BufferFull, LeveretError

log = logging.getLogger("leveret.client")

T = TypeVar("T")
AHEAD: Final = 10_000  # messages that the caller may be ahead of the spool
ROOM: Final = 0.75  # who waits for room in the buffer waits until it is so full


class Receipt(Awaited):
    """By a thread. Only the loop counts."""

    __slots__ = ("waiting",)

    def __init__(self, to: str | Target, left: int) -> None:
        super().__init__(to, left)
        self.waiting: Waiting[None] = Waiting()

    def over(self, error: LeveretError | None) -> None:
        if error is None:
            self.waiting.set(None)
        else:
            self.waiting.fail(error)


class Handed:
    """One message on its way from a caller's thread to the outbox. Without a template: the end of a batch."""

    __slots__ = ("body", "data", "options", "receipt", "tell", "template", "to")

    def __init__(
        self,
        template: Template | None,
        data: bytes,
        receipt: Receipt | None,
        to: str | Target = "",
        body: object = None,
        tell: OnOutcome | None = None,
        options: Options | None = None,
    ) -> None:
        self.template = template
        self.data = data
        self.receipt = receipt
        self.to = to
        self.body = body
        self.tell = tell
        self.options = options


class SyncSending:
    """Publishing and posting. What it needs of the client is declared here."""

    _client: Client
    _publisher: Publisher
    _thread: LoopThread
    _posts: Box[Handed | tuple[Template, bytes]]
    _open: bool

    def _check(self) -> None:
        """Raises Closed, Disconnected."""
        raise NotImplementedError

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        raise NotImplementedError

    def _later(self, function: Callable[[T], object]) -> Callable[[T], None]:
        raise NotImplementedError

    def _send(self, handed: list[Handed | tuple[Template, bytes]]) -> int:
        """On the loop: what the callers' threads have put into the box. How many bytes of bodies that is."""
        size_bytes = 0
        publisher = self._publisher
        outbox, spooling = publisher.outbox, publisher.spooling
        for one in handed:
            if isinstance(one, tuple):  # nobody is to be told
                publisher.posted += 1
                outbox.add(one[0], one[1], None)
                size_bytes += len(one[1])
                continue
            template, receipt = one.template, one.receipt
            size_bytes += len(one.data)
            if receipt is not None:
                if template is None:
                    receipt.more(-1)
                else:
                    outbox.add(template, one.data, receipt)
                continue
            assert template is not None
            publisher.posted += 1
            if spooling is not None:
                self._spool(spooling, template, one)
            elif one.tell is None:
                outbox.add(template, one.data, None)
            else:
                number = outbox.add(template, one.data, None)
                message_id = (one.options or {}).get("message_id") or outbox.last_id()
                outbox.set_owner(number, Posted(one.tell, message_id, one.to, one.body))
        try:
            publisher.ask()
        except LeveretError as error:
            for one in handed:
                if isinstance(one, tuple):
                    continue
                if one.receipt is not None:
                    one.receipt.waiting.fail(error)
                elif one.tell is not None:
                    one.tell(Outcome("", one.to, one.body, error))
        return size_bytes

    def _spool(self, spooling: Spooling, template: Template, one: Handed) -> None:
        try:
            self._publisher.spool(spooling, one.to, template, one.data, one.tell, one.options or {})
        except LeveretError as error:
            if one.tell is None:
                log.error("a posted message is dropped: %s", error.text)
            else:
                one.tell(Outcome("", one.to, one.body, error))

    def _prepare(self, to: str | Target, body: object, options: Options) -> tuple[Template, bytes]:
        """Encoded on the caller's thread. Only a delay that the broker does not offer takes the client's."""
        publisher = self._publisher
        if options and publisher.delayed is not None and ("delay_s" in options or "at" in options):

            async def prepare() -> tuple[Template, bytes]:
                return publisher.prepare(to, body, options)

            return self._do(prepare)
        return publisher.prepare(to, body, options)

    def publish(
        self, to: str | Target, body: object, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> None:
        """Send, and return when the broker has it.

        Raises Unroutable, NotConfirmed, Refused, InvalidMessage, Unsupported, Disconnected (only without reconnecting),
        TimeoutError; after that, and after Ctrl-C, the message may still be sent.
        """
        self._check()
        template, data = self._prepare(to, body, options)
        receipt = Receipt(to, 1)
        self._await(receipt, [Handed(template, data, receipt)], timeout_s)

    def _await(self, receipt: Receipt, last: list[Handed], timeout_s: float | None) -> None:
        thread = self._thread
        thread.expect(receipt.waiting)
        for handed in last:
            self._posts.put(handed, len(handed.data))
        thread.wait(receipt.waiting, timeout_s)

    def publish_many(
        self,
        to: str | Target,
        bodies: Iterable[object],
        *,
        timeout_s: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Send them all, and return when the broker has them. The first error is raised, when all have ended."""
        self._check()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        bodies = list(several(bodies))
        receipt = Receipt(to, len(bodies) + 1)
        for body in bodies:
            template, data = self._prepare(to, body, options)
            if self._is_full():
                self._wait_for_room(deadline)
            self._posts.put(Handed(template, data, receipt), len(data))
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._await(receipt, [Handed(None, b"", receipt)], left_s)

    def post(
        self,
        to: str | Target,
        body: object,
        *,
        on_outcome: OnOutcome | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Hand over and go on. It is confirmed, and sent again if need be, in the background.

        When the buffer is full, it waits for room, raises BufferFull, or drops the message, as the client was told. Raises
        InvalidMessage, Unsupported, Closed. `on_outcome` is told how it ended.
        """
        publisher = self._publisher
        if not self._open:
            self._check()
        if publisher.tracing is not None:
            where = target(to)
            traced = publisher.tracing.published(where.exchange, where.key, options.get("headers"))
            options["headers"] = traced.headers
            traced.end()
        template, data = self._prepare(to, body, options) if options else publisher.prepare(to, body, options)
        if self._is_full():
            full = publisher.buffer.full
            if full == "drop":
                publisher.dropped += 1
                return
            if full == "raise":
                raise BufferFull(f"{self._waiting()} messages are posted and not confirmed")
            self._wait_for_room(None)
        if publisher.spooling is not None and len(self._posts.items) >= AHEAD:
            self._do(
                self._caught_up
            )  # the disk is slower than the caller, and memory is what is to be spared
        tell = publisher.on_outcome if on_outcome is None else self._later(on_outcome)
        if tell is None and publisher.spooling is None:
            self._posts.put((template, data), len(data))
            return
        self._posts.put(Handed(template, data, None, to, body, tell, options), len(data))

    async def _caught_up(self) -> None:
        self._posts.empty()

    def _waiting(self) -> int:
        spooling = self._publisher.spooling
        there = self._publisher.outbox.waiting() if spooling is None else spooling.waiting()
        return there + len(self._posts.items)

    def _is_full(self) -> bool:
        """Of what is in the outbox, and what is on its way there."""
        publisher, posts = self._publisher, self._posts
        if publisher.spooling is not None:
            return not publisher.spooling.has_room(posts.size_bytes)
        outbox, buffer = publisher.outbox, publisher.buffer
        return (
            outbox.waiting() + len(posts.items) >= buffer.messages
            or outbox.waiting_bytes() + posts.size_bytes >= buffer.size_bytes
        )

    def _wait_for_room(self, deadline: float | None) -> None:
        """Until a part of the buffer is free, so that threads change less often. Raises TimeoutError."""
        publisher, buffer = self._publisher, self._publisher.buffer

        async def room() -> None:
            self._posts.empty()
            left_s = None if deadline is None else deadline - time.monotonic()
            async with asyncio.timeout(left_s):
                while True:
                    outbox = publisher.outbox
                    free = outbox.waiting() <= ROOM * buffer.messages
                    if publisher.spooling is not None:
                        free = publisher.spooling.has_room(0)
                    elif outbox.waiting_bytes() > ROOM * buffer.size_bytes:
                        free = False
                    if free:
                        return
                    await publisher.room()

        self._do(room)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that was sent or posted has its outcome. Raises TimeoutError, Closed."""

        async def flush() -> None:
            self._posts.empty()
            await self._client.flush(timeout_s)

        self._do(flush)
