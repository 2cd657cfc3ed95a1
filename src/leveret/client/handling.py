"""What becomes of a message beyond its own channel: decoding, retries, dead letters, answers.

A retry is the broker's where its queue has a policy; else the message is published again with a delay and acked when the
copy is confirmed. So at every moment one of the two is with the broker: twice is possible, lost is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, cast

from leveret.client.engine.message import Handling, Message
from leveret.client.engine.outbox import CONFIRMED, Done, Template
from leveret.client.outcomes import error_of, settle
from leveret.client.publisher import PUBLISH_CHANNEL, around_id, route
from leveret.client.targets import Options, Target, target
from leveret.errors import InvalidMessage, LeveretError
from leveret.wire.properties import Properties, encode_properties

if TYPE_CHECKING:
    from leveret.client.client import Client
    from leveret.client.topology import Retry

log = logging.getLogger("leveret.client")

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
DIRECT_REPLY = "amq.rabbitmq.reply-to"


class Moved:
    """A message whose copy is on its way: acked when the broker has that, released when it has not, though not before the
    time that the copy was to come, or it would be tried over and over at once."""

    def __init__(self, message: Message, future: asyncio.Future[None], to: Target, delay_s: float) -> None:
        self._message = message
        self._future = future
        self._to = to
        self._delay_s = delay_s

    def finish(self, done: Done) -> None:
        if done.verdict == CONFIRMED:
            self._message.finish()
            settle(self._future, None)
            return
        error = error_of(done, self._to)
        if self._delay_s > 0:
            self._future.get_loop().call_later(self._delay_s, self._message.undo)
            when = f"goes back to its queue in {self._delay_s:g} s"
        else:
            self._message.undo()
            when = "is back in its queue"
        log.warning("a message could not be moved to %s, and %s: %s", self._to, when, error)
        settle(self._future, None)

    def fail(self, error: LeveretError) -> None:
        self._message.undo()
        settle(self._future, None)


class Serving(Handling):
    """`retry_policy` is what its queue was declared with; `dead_letter` the queue for what will never do."""

    def __init__(
        self, client: Client, queue: str, retry_policy: Retry | None = None, dead_letter: str | None = None
    ) -> None:
        self.client = client
        self.queue = queue
        self.retry_policy = retry_policy
        self.dead_letter = dead_letter

    def decode(self, message: Message, into: object) -> object:
        return self.client.payloads.decode(message, into)

    def expand(self, message: Message) -> bytes:
        return self.client.payloads.expand(message)

    def reply(self, message: Message, body: object, options: dict[str, object]) -> Awaitable[None]:
        to = message.reply_to
        if to is None:
            raise InvalidMessage(f"a message of {self.queue!r} has no reply_to: nobody waits for an answer")
        given = dict(options)
        given.setdefault("correlation_id", message.correlation_id or message.message_id)
        given.setdefault("persistent", not to.startswith(DIRECT_REPLY))
        given.setdefault("mandatory", False)
        return self.client.post(Target("", to), body, **cast(Options, given))

    def retry(self, message: Message, delay_s: float | None) -> Awaitable[None]:
        policy = self.retry_policy
        if delay_s is None and policy is not None and self.client.features.retry:
            self.client.retried += 1
            return message.drop()
        attempts = message.attempts
        if policy is not None and not self.client.features.retry and attempts > policy.max:
            return self.reject(message, f"failed {attempts} times")
        if delay_s is None:
            first = FIRST_DELAY_S * 2.0 ** min(attempts - 1, 16)
            delay_s = min(first, LONGEST_DELAY_S) if policy is None else policy.delay_before(attempts)
        self.client.retried += 1
        return self.move(message, Target("", self.queue), {"x-attempts": attempts}, delay_s)

    def reject(self, message: Message, reason: str) -> Awaitable[None]:
        if self.dead_letter is not None:
            headers: dict[str, object] = {"x-attempts": message.attempts, "x-failed-queue": self.queue}
            if reason:
                headers["x-reject-reason"] = reason
            self.client.rejected += 1
            return self.move(message, Target("", self.dead_letter), headers, 0)
        if reason:
            log.warning("a message of %r is rejected: %s", self.queue, reason)
        if self.retry_policy is not None and self.client.features.retry:
            self.client.rejected += 1  # the policy would try it again
            return message.ack()
        return message.drop()

    def move(
        self, message: Message, to: object, headers: dict[str, object], delay_s: float = 0.0
    ) -> Awaitable[None]:
        where = target(to) if isinstance(to, str) else cast(Target, to)
        message.hold()
        template = self._copied(message, where, headers, round(delay_s * 1000))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        publisher = self.client.publisher
        publisher.outbox.add(template, message.raw, Moved(message, future, where, delay_s))
        publisher.ask()
        return future

    def _copied(self, message: Message, to: Target, headers: Mapping[str, object], delay_ms: int) -> Template:
        old = message.properties
        properties = Properties(**old.as_dict())  # type: ignore[arg-type]
        merged = {**(old.headers or {}), **headers}
        for gone in (
            "x-deliver-after",
            "x-deliver-at",
            "x-retry-count",
            "x-retry-reason",
            "x-delivery-count",
        ):
            merged.pop(gone, None)
        delayed = self.client.publisher.delayed
        if delay_ms > 0:
            if delayed is None:
                merged["x-deliver-after"] = delay_ms
            else:
                to = delayed(to, delay_ms)
        properties.headers = merged
        if properties.message_id is None:
            before, after = around_id(properties)
            return Template(PUBLISH_CHANNEL, route(to), True, before, after, True)
        return Template(PUBLISH_CHANNEL, route(to), True, encode_properties(properties), b"", False)
