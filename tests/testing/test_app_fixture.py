# mypy: disable-error-code="untyped-decorator"
"""`leveret_app`: an app that works in a test, on its loop or on a thread."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import leveret
from leveret.errors import Closed, Reject, RetryLater
from leveret.testing import BrokerClock, LeveretApp, LeveretBroker
from leveret.worker import App

from ..embed.dialled import run


class Failed(Exception):
    pass


class Shop:
    """An app whose handlers write down what they did."""

    def __init__(self) -> None:
        self.app = app = App("amqp://nobody.invalid", name="shop", credentials=("not", "used"))
        self.done: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()

        @app.task(queue="sums")
        async def add(a: int, b: int) -> int:
            self.done.append((a, b))
            return a + b

        @app.task(queue="sums")
        async def add_more(a: int, b: int) -> None:
            await asyncio.sleep(0)
            add.post(a, b)

        @app.task(queue="faults", retry=leveret.Retry(max=2, delay_s=60, jitter=False))
        async def fail(error: str) -> None:
            self.done.append(error)
            raise {"Failed": Failed, "Reject": Reject, "RetryLater": RetryLater}[error]("on purpose")

        @app.task(queue="slow", pool="thread")
        def wait() -> None:
            self.go_on.wait(20)
            self.done.append("waited")

        @app.cron("reports", schedule="0 8 * * *", timezone="UTC")
        async def report(message: leveret.Message) -> None:
            self.done.append(message.body)

        self.add, self.add_more, self.fail, self.wait = add, add_more, fail, wait


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_on_a_thread(leveret_app: LeveretApp, leveret_broker: LeveretBroker, shop: Shop) -> None:
    with leveret_app(shop.app) as worker:
        worker.post(shop.add_more, 1, 2)
        worker.join()
        assert shop.done == [(1, 2)]
        assert worker.call(shop.add, 3, 4) == 7
        worker.publish("sums", b'{"args": [5, 6]}', type="add", content_type="application/json")
        worker.join()
        assert shop.done[2:] == [(5, 6)]
    leveret_broker.assert_published("sums", type="add_more")
    assert leveret_broker.messages("sums") == []


def test_on_the_loop_of_the_test(leveret_app: LeveretApp, shop: Shop) -> None:
    async def main() -> None:
        async with leveret_app(shop.app) as worker:
            for n in range(100):
                shop.add.post(n, n)
            await worker.join()
            assert len(shop.done) == 100
            assert await shop.add.call(1, 2) == 3
            assert worker.client is shop.app.client

    run(main())
    with pytest.raises(Closed):
        shop.add.post(1, 2)


def test_its_addresses_are_its_own_again(leveret_app: LeveretApp, shop: Shop) -> None:
    before = (shop.app.urls, shop.app.connect_options)
    with leveret_app(shop.app):
        assert shop.app.urls != before[0]
    assert (shop.app.urls, shop.app.connect_options) == before


def test_join_raises_what_a_handler_raised(leveret_app: LeveretApp, shop: Shop) -> None:
    with leveret_app(shop.app) as worker:
        worker.post(shop.fail, "Failed")
        with pytest.raises(Failed, match="on purpose") as caught:
            worker.join()
        assert caught.value.__notes__ == ["raised by the handler of queue 'faults' of the app 'shop'"]
        worker.join()  # once


def test_leaving_raises_it_too(leveret_app: LeveretApp, shop: Shop) -> None:
    failed = threading.Event()
    with pytest.raises(Failed), leveret_app(shop.app) as worker:
        shop.done = _Telling(failed)
        worker.post(shop.fail, "Failed")
        assert failed.wait(20)


class _Telling(list[Any]):
    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def append(self, item: Any) -> None:
        super().append(item)
        self.event.set()


def test_what_the_test_itself_raises_comes_first(leveret_app: LeveretApp, shop: Shop) -> None:
    with pytest.raises(KeyError), leveret_app(shop.app) as worker:
        worker.post(shop.fail, "Failed")
        raise KeyError


def test_failures_may_be_what_is_tested(
    leveret_app: LeveretApp, leveret_broker: LeveretBroker, leveret_clock: BrokerClock, shop: Shop
) -> None:
    """Tries wait by the broker's time."""
    with leveret_app(shop.app, raises=False) as worker:
        worker.post(shop.fail, "Failed")
        worker.join()
        assert shop.done == ["Failed"]
        leveret_clock.advance(61)
        worker.join()
        leveret_clock.advance(3_600)
        worker.join()
        assert shop.done == ["Failed"] * 3
    (dead,) = leveret_broker.messages("faults.dead")
    assert (dead.headers["x-exception-type"], dead.headers["x-attempts"]) == (f"{__name__}.Failed", 3)


@pytest.mark.parametrize("decision", ["Reject", "RetryLater"])
def test_decisions_are_no_failures(leveret_app: LeveretApp, shop: Shop, decision: str) -> None:
    with leveret_app(shop.app) as worker:
        worker.post(shop.fail, decision)
        worker.join()
        assert shop.done == [decision]


def test_what_takes_too_long_is_named(leveret_app: LeveretApp, shop: Shop) -> None:
    shop.go_on.clear()
    with leveret_app(shop.app) as worker:
        worker.post(shop.wait)
        with pytest.raises(TimeoutError, match="queue 'slow' has 0 messages ready and 1 in work"):
            worker.join(0.05)
        shop.go_on.set()
        worker.join()
        assert shop.done == ["waited"]


def test_cron_goes_by_the_time_of_the_test(
    leveret_app: LeveretApp, leveret_clock: BrokerClock, shop: Shop
) -> None:
    leveret_clock.move_to(datetime(2100, 1, 1, 7, 0, tzinfo=UTC))
    with leveret_app(shop.app) as worker:
        worker.publish("reports", b"monday")
        worker.join()
        assert shop.done == []
        leveret_clock.advance(minutes=59)
        worker.join()
        assert shop.done == []
        leveret_clock.advance(minutes=2)
        worker.join()
        assert shop.done == [b"monday"]
        worker.publish("reports", b"tuesday")
        leveret_clock.advance(days=1)
        worker.join()
        assert shop.done == [b"monday", b"tuesday"]


def test_only_some_of_its_queues(leveret_app: LeveretApp, leveret_broker: LeveretBroker, shop: Shop) -> None:
    with leveret_app(shop.app, queues=["slow"]) as worker:
        worker.do(worker.app.client.declare_queue(leveret.Queue("sums")))
        worker.publish("sums", b"stays")
        worker.join()
    assert [each.body for each in leveret_broker.messages("sums")] == [b"stays"]


def test_an_app_that_cannot_start_keeps_its_addresses(leveret_app: LeveretApp, shop: Shop) -> None:
    before = shop.app.urls

    @shop.app.resource
    def broken() -> None:
        raise Failed("no database")

    @shop.app.task(queue="broken")
    async def needs(broken: None) -> None: ...

    with pytest.raises(Failed, match="no database"), leveret_app(shop.app):
        pass
    assert shop.app.urls == before
