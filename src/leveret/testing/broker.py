"""The broker of a test: on a thread, in memory, with what was published to look at.

It knows the embedded broker; pytest is plugin.py's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from leveret import config
from leveret.clock import Clock
from leveret.embed.broker import Broker
from leveret.embed.clock import MovableClock
from leveret.embed.thread import LoopThread, ThreadedBroker
from leveret.errors import ClientError
from leveret.server.server import Server
from leveret.testing import expect
from leveret.testing.expect import ANY, Expected
from leveret.testing.tap import Published, Tap

WAIT_S: Final = 2.0  # for what another thread is about to publish


class TappedBroker(Broker):
    """Keeps what is published in `tap`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.tap = Tap()

    def _make(self, effective: config.Config, clock: Clock) -> Server:
        server = super()._make(effective, clock)
        server.on_link = self.tap.link
        return server


class LeveretBroker(ThreadedBroker):
    """What the fixture `leveret_broker` is: a fresh broker in memory, on a thread that tests share.

    `url` is for any client. `published()`, `assert_published()`, `assert_not_published()` and `messages()` look at it.
    """

    def __init__(self, runner: LoopThread, **settings: Any) -> None:
        self.clock = MovableClock()
        broker = TappedBroker(**settings, clock=self.clock)
        super().__init__(broker, runner, own=False)
        self.tap = broker.tap
        self.do(broker.start())

    def declare(self, *queues: str, **arguments: object) -> None:
        """Declare durable queues, with arguments such as `x_max_priority=10`, which is `x-max-priority`. For code under
        test that expects them to be there. Raises what the broker refuses."""
        table = {name.replace("_", "-"): value for name, value in arguments.items()}

        def declared() -> None:
            broker = self.broker
            vhost = broker.server.broker.vhosts[broker.config.vhosts[0]]
            for queue in queues:
                vhost.declare_queue(queue, True, False, False, table, False, None)
            broker.server.schedule()

        self.call(declared)

    def published(self, to: Any = None) -> list[Published]:
        """What was published so far, or what of it went to a queue, topic or exchange; the last 10,000 messages."""
        return [message for message in self.tap.all() if to is None or expect.went_to(message, to)]

    def assert_published(
        self,
        to: Any,
        body: Any = ANY,
        *,
        headers: Mapping[str, Any] | None = None,
        count: int | None = None,
        timeout_s: float | None = None,
        **properties: Any,
    ) -> Published:
        """Fail unless a message like this was published, and return the first that was.

        to: the name of a queue that it was routed to, the name of an exchange, a topic or a pattern of topics
        (`orders.*.created`), or what `leveret.topic` and `leveret.exchange` make. body: bytes or text as they are, any
        other value as JSON, or a function that takes the message. headers: those that it must have, with their values.
        count: how many there must be exactly. properties: of AMQP, such as `correlation_id="7"`. timeout_s: how long to
        wait for it; 2 s, but 0 in a test that runs on an event loop, which would stand still: flush the client first,
        or await `wait_published`. Raises AssertionError, TypeError, ValueError.
        """
        __tracebackhide__ = True
        expected = Expected(body, headers, properties)
        if count is not None and count < 1:
            raise ValueError(f"count={count}: use assert_not_published")
        wait_s = (0.0 if _on_a_loop() else WAIT_S) if timeout_s is None else timeout_s
        deadline = time.monotonic() + wait_s
        changed = self.tap.changed
        with changed:
            while not self._enough(found := self._like(to, expected), count):
                rest_s = deadline - time.monotonic()
                if rest_s <= 0:
                    break
                changed.wait(rest_s)
        if self._enough(found, count):
            return found[0]
        raise AssertionError(self._text(to, expected, len(found), count, wait_s))

    async def wait_published(
        self, to: Any, body: Any = ANY, *, timeout_s: float = WAIT_S, **expected: Any
    ) -> Published:
        """`assert_published` that waits without holding up the event loop."""
        return await asyncio.to_thread(self.assert_published, to, body, timeout_s=timeout_s, **expected)

    def assert_not_published(
        self, to: Any = None, body: Any = ANY, *, headers: Mapping[str, Any] | None = None, **properties: Any
    ) -> None:
        """Fail if a message like this was published; without arguments: if anything was. Raises AssertionError."""
        __tracebackhide__ = True
        expected = Expected(body, headers, properties)
        found = [each for each in self.published(to) if not expected.differs(each)]
        if found:
            lines = [f"  {n}. {expect.told(each)}" for n, each in enumerate(found[: expect.SHOWN], 1)]
            raise AssertionError("\n".join([f"{len(found)} messages were published{expected}:", *lines]))

    def _like(self, to: Any, expected: Expected) -> list[Published]:
        return [each for each in self.published(to) if not expected.differs(each)]

    def _enough(self, found: list[Published], count: int | None) -> bool:
        return len(found) == count if count is not None else bool(found)

    def _text(self, to: Any, expected: Expected, found: int, count: int | None, wait_s: float) -> str:
        try:
            queues = self.queues()
        except (ClientError, TimeoutError):
            queues = []
        text = expect.missing(to, expected, found, count, self.tap.all(), queues)
        if not wait_s:
            text += "\n(it was not waited for: flush the client first, or await leveret_broker.wait_published(...))"
        return text

    def close(self) -> None:
        """The end of a test: whoever is connected is not waited for."""
        self.stop(0)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
