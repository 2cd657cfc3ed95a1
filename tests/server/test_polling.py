"""When the server stays awake for its peers: after a light turn, and not while the disk's thread wants the interpreter."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from leveret import busypoll, config
from leveret.embed import Broker
from leveret.errors import ConfigError
from leveret.limits import TURN_BUDGET_BYTES
from leveret.server import run
from leveret.server.server import LIGHT_BYTES, Server
from tests.polling import Polling


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that is not started, on a loop that forgets what it is to call."""
    made = Server(config.load(None, {}, {"memory": True}))
    made.open()
    made.loop = SimpleNamespace(call_soon=lambda callback: None, call_later=lambda s, callback: None)  # type: ignore[assignment]
    monkeypatch.setattr(made, "polling", Polling())
    return made


@pytest.mark.parametrize(("read_bytes", "begun"), [(0, 1), (150, 1), (LIGHT_BYTES, 0), (100_000, 0)])
def test_it_polls_after_a_turn_that_read_little(idle: Any, read_bytes: int, begun: int) -> None:
    idle.schedule()
    assert idle.polling.ended == 1  # something had come
    idle.budget = TURN_BUDGET_BYTES - read_bytes
    idle.turn()
    assert idle.polling.begun == begun
    assert idle.budget == TURN_BUDGET_BYTES


def test_it_does_not_poll_while_the_disk_is_written(idle: Any) -> None:
    idle.storage.writer = SimpleNamespace(busy=True)
    idle.turn()
    assert idle.polling.begun == 0


def test_it_does_not_poll_while_there_is_more_to_do(idle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = SimpleNamespace(work=lambda: True, expiry=SimpleNamespace(run=lambda: None))
    monkeypatch.setattr(idle, "broker", busy)
    idle.turn()
    assert idle.polling.begun == 0
    assert idle.scheduled


@pytest.mark.parametrize("asked_us", [50, 0])
def test_a_broker_that_has_its_process_polls_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, asked_us: int
) -> None:
    class Made(Exception):
        """The server, before anything is touched."""

    def make(*args: Any, **options: Any) -> Server:
        raise Made(Server(*args, **options))

    monkeypatch.setattr(run, "Server", make)
    monkeypatch.setattr(run, "raise_descriptors", lambda: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: None)
    monkeypatch.setattr(busypoll, "is_possible", lambda: True)
    with pytest.raises(Made) as made:
        asyncio.run(run.serve(config.load(None, {}, {"memory": True, "busy_poll_us": asked_us})))
    assert made.value.args[0].polling.limit_s == asked_us / 1_000_000


def test_a_broker_in_another_program_never_polls() -> None:
    async def work() -> None:
        async with Broker() as broker:
            assert broker._server is not None
            assert broker._server.polling.limit_s == 0

    asyncio.run(work())
    with pytest.raises(ConfigError, match=r"busy_poll_us.*not a setting of an embedded broker"):
        Broker(busy_poll_us=10)
