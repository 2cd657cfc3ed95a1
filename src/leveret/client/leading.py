"""From one connection to the next: opening, losing, coming back, and the end.

    open -> [ connected | lost: back-off, connect, declare again, consume again, send again ] -> close

It owns what lasts over connections (publisher, record of what was declared, consumers) and tells each of them when
there is a new one. A client belongs to one event loop and one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from leveret.client import features as of_broker
from leveret.client.backoff import Backoff
from leveret.client.calls import Calls, Replies
from leveret.client.connector import Connector
from leveret.client.consumer import Consumer
from leveret.client.control import Control
from leveret.client.engine.inbox import Channel
from leveret.client.engine.message import Handling
from leveret.client.features import Features, ServerInfo
from leveret.client.link import CLOSE_TIMEOUT_S, Link, Owner
from leveret.client.outcomes import OnOutcome
from leveret.client.payload import Payloads
from leveret.client.publisher import PUBLISH_CHANNEL, Buffer, Publisher
from leveret.client.pull import Puller
from leveret.client.spool import Spool
from leveret.client.stats import Stats
from leveret.client.targets import Target
from leveret.client.telemetry import Tracing, tracing
from leveret.client.topology import Queue
from leveret.errors import Closed, Disconnected, LeveretError, Refused, Unsupported
from leveret.wire import methods, requests

if TYPE_CHECKING:
    from leveret.client.client import Client

log = logging.getLogger("leveret.client")

SPOOL_AGAIN_S = 1.0  # after its disk was full, say
PATIENCE_S = 1.0  # for the goodbye to a broker that has confirmed nothing for long
FORCED = 320  # connection.close of a broker that stops


class Leading:
    """The half of a client that has to do with connections. See `Client` for what its arguments mean."""

    def __init__(
        self,
        connector: Connector,
        payloads: Payloads,
        buffer: Buffer,
        backoff: Backoff | None,
        on_outcome: OnOutcome | None,
        spool: str | None = None,
        lazy: bool = False,
        trace: bool | None = None,
    ) -> None:
        self.id = secrets.token_hex(4)
        self.payloads = payloads
        self.backoff = backoff if backoff is not None else Backoff()
        self.reconnects = backoff is not None
        self.publisher = Publisher(payloads, buffer, self._ask, self._expect)
        self.publisher.on_outcome = on_outcome
        self.publisher.demand = self.demand
        self.publisher.delayed = self._not_known
        self.server = ServerInfo()
        self.features = Features()
        self.link: Link | None = None
        self.consumers: set[Consumer] = set()
        self.retried = 0
        self.rejected = 0
        self.tracing: Tracing | None = None
        self._connector = connector
        self._spool = spool
        self._lazy = lazy
        self._trace = trace
        self._times_up = 0
        self._past: list[int] = [0, 0, 0, 0]  # of channels that are gone: delivered, acked, requeued, nacked
        self._state: Literal["new", "open", "closed"] = "new"
        self._end: LeveretError = Closed("the client was closed")
        self._suspect = False  # a message may have ended the last connection
        self._waiting: list[asyncio.Future[Link]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pid = 0
        self._spool_asked = False

    # ---- life

    async def open(self) -> None:
        """Connect. Raises ConnectFailed, which says why for every address."""
        if self._state != "new":
            raise Closed("a client is opened once; make another with connect()")
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        client = cast("Client", self)  # its other half
        self.control = Control(client)
        self._calls = Calls(client)
        self._pullers: dict[str, Puller] = {}
        self._replies: dict[str, Replies] = {}
        address = self._connector.address
        self.tracing = self.publisher.tracing = tracing(self._trace, address.host, address.port)
        if self._spool is not None:
            self.publisher.use_spool(Spool(self._spool))
        self._state = "open"
        if self._lazy:
            self.spawn(self._lead(None))
            return
        try:
            link = await self._connector.connect(self.publisher.outbox)
            await self._restore(link)
        except BaseException:
            self._close_spool()
            self._state = "new"
            raise
        self.spawn(self._lead(link))

    async def close(self, flush_s: float = 10.0) -> None:
        """Wait for confirms of what was sent, for at most `flush_s`; stop consuming; hang up. Repeated calls do nothing."""
        if self._state != "open":
            self._state = "closed"
            return
        patience_s = CLOSE_TIMEOUT_S
        if self.link is not None and self.publisher.outbox.waiting():
            try:
                await self.publisher.flush(flush_s)
            except TimeoutError:
                patience_s = max(PATIENCE_S, CLOSE_TIMEOUT_S - flush_s)
            except LeveretError:
                pass  # each message's own outcome tells
        await self._hang_up(patience_s)
        self._finish(self._end)
        self._close_spool()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hang_up(self, patience_s: float) -> None:
        """Stop taking from all queues at once, then say goodbye. A broker that hangs holds us for `patience_s`, once."""
        takers: list[Consumer | Puller] = [*self.consumers, *self._pullers.values()]
        parts = [self.spawn(taker.close()) for taker in takers]
        late: set[asyncio.Task[None]] = set()
        if parts:
            try:
                late = (await asyncio.wait(parts, timeout=patience_s))[1]
            except asyncio.CancelledError:
                for part in parts:
                    part.cancel()
                raise
        self._state = "closed"
        link, self.link = self.link, None
        if link is not None and not late:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await link.close()
        if link is not None and not link.lost.done():
            link.fail(self._end)
        if late:
            await asyncio.wait(late)  # what they asked has failed with the connection

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
            spooled=0 if self.publisher.spooling is None else self.publisher.spooling.waiting(),
            delivered=counts[0],
            acked=counts[1],
            released=counts[2],
            rejected=self.rejected + counts[3],
            retried=self.retried,
            reconnects=max(0, self._times_up - 1),
            blocked=self.link.blocked if self.link is not None else "",
        )

    # ---- from one connection to the next

    async def _lead(self, link: Link | None) -> None:
        if link is None:
            link = await self._up_again()
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

    def _close_spool(self) -> None:
        if self.publisher.spooling is not None:
            try:
                self.publisher.spooling.close()
            except LeveretError as error:
                log.error("the spool was not closed in order: %s", error.text)
            self.publisher.spooling = None

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
            except Exception:  # of the application's credentials: a token server that is away, say
                delay_s = backoff.next_s()
                log.exception("connecting failed; trying again in %.1f s", delay_s)
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
        link.on_blocked = self._blocked
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

    def _blocked(self, reason: str) -> None:
        if reason:
            log.warning("%s takes no messages for now: %s", self._connector.address.place, reason)
        else:
            log.info("%s takes messages again", self._connector.address.place)

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
        """Raises Unsupported where the broker does not have it, or is not known yet."""
        self.features.demand(feature, what, self.server)

    def _ask(self) -> None:
        if self._pid != os.getpid() or self._state != "open":
            self.check_open()
        if self.link is not None:
            self.link.output.ask()
        if self.publisher.spooling is not None and not self._spool_asked:
            self._spool_asked = True
            self._loop.call_soon(self._work_spool)

    def _expect(self) -> None:
        if self.link is not None:
            self.link.polling.begin()

    def _work_spool(self) -> None:
        self._spool_asked = False
        if self.publisher.spooling is not None and not self.publisher.work_spool():
            self._spool_asked = True
            self._loop.call_later(SPOOL_AGAIN_S, self._work_spool)

    def _delayed(self, to: Target, delay_ms: int) -> Target:
        return self.control.delayed(to, delay_ms, PUBLISH_CHANNEL)

    def _not_known(self, to: Target, delay_ms: int) -> Target:
        raise Unsupported(f"a delay for {to}: no broker was reached yet, so how it delays is not known")

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


class Publishing(Owner):
    """Owner of the channel that messages go out by. Events there are answers that nobody waits for, and returns of messages
    that are not ours any more."""

    def __init__(self, client: Leading, link: Link) -> None:
        self._client = client
        self._link = link

    def closed(self, error: LeveretError) -> None:
        if not self._link.lost.done():
            self._client.publishing_closed(self._link, error)


def counts_of(channel: Channel) -> list[int]:
    settling = channel.settling
    return [int(channel.delivered), int(settling.acked), int(settling.requeued), int(settling.nacked)]
