"""The pytest plugin: `leveret_broker`, `leveret_clock`, `leveret_app`. pytest loads it in every run, so it imports little.

All work in plain tests and in those of pytest-asyncio and anyio, in each process of pytest-xdist, and without any of
these. Nothing starts before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from leveret.embed.thread import LoopThread
    from leveret.testing.broker import LeveretBroker
    from leveret.testing.clock import BrokerClock
    from leveret.testing.worker import LeveretApp


@pytest.fixture(scope="session")
def leveret_thread() -> Iterator[LoopThread]:
    """The thread that the brokers of all tests run on, one after the other."""
    from leveret.embed.thread import LoopThread

    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def leveret_settings() -> dict[str, Any]:
    """Settings of `leveret_broker`, keys of the configuration. For a project to override."""
    return {}


@pytest.fixture
def leveret_broker(leveret_thread: LoopThread, leveret_settings: dict[str, Any]) -> Iterator[LeveretBroker]:
    """A fresh broker in memory. `leveret_broker.url` is for any client; `connect()` and `connect_sync()` make ours."""
    from leveret.testing.broker import LeveretBroker

    broker = LeveretBroker(leveret_thread, **leveret_settings)
    yield broker
    broker.close()


@pytest.fixture
def leveret_clock(leveret_broker: LeveretBroker) -> BrokerClock:
    """The time of `leveret_broker`: `leveret_clock.advance(60)`."""
    from leveret.testing.clock import BrokerClock

    return BrokerClock(leveret_broker)


@pytest.fixture
def leveret_app(leveret_broker: LeveretBroker) -> Iterator[LeveretApp]:
    """Has an app work on `leveret_broker`: `with leveret_app(app) as worker:`, or `async with` on a loop."""
    from leveret.testing.worker import LeveretApp

    with LeveretApp(leveret_broker) as made:
        yield made
