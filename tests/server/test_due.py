"""Messages that are due between two ticks: the server asks for a turn of its own for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leveret import config
from leveret.core.broker import Broker
from leveret.message import AMQP091, Message, Terms
from leveret.server.server import Server


class Loop:
    """Keeps what it is asked to call."""

    def __init__(self) -> None:
        self.later: list[float] = []
        self.soon = 0

    def call_later(self, delay_s: float, callback: Callable[[], Any]) -> None:
        self.later.append(round(delay_s, 3))

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self.soon += 1


@pytest.fixture
def server() -> Server:
    made = Server(config.load(None, {}, {"memory": True}))
    made.open()
    made.loop = Loop()  # type: ignore[assignment]
    made.core_turn.now_ms = 1_000_000
    return made


def publish(broker: Broker, due_ms: int) -> None:
    vhost = broker.add_vhost("/")
    queue = vhost.declare_queue("q", False, False, False, {}, False, None)
    route = vhost.resolve(b"\0\1q\0")
    message = Message(b"m", route.raw, 1, False, AMQP091)
    message.terms = Terms(broker.turn.now_ms, -1, due_ms, 0)
    vhost.take(route, [queue], message)


def test_a_turn_is_asked_for_when_something_is_due(server: Server) -> None:
    publish(server.broker, 1_000_042)
    server.turn()
    server.turn()  # once is enough
    assert server.loop.later == [0.042]  # type: ignore[attr-defined]
    server.core_turn.now_ms = 1_000_042
    server.turn()
    assert server.broker.vhosts["/"].queue("q", None).ready_count() == 1


def test_what_is_due_sooner_comes_sooner(server: Server) -> None:
    publish(server.broker, 1_000_080)
    server.turn()
    publish(server.broker, 1_000_020)
    server.turn()
    assert server.loop.later == [0.08, 0.02]  # type: ignore[attr-defined]


def test_what_is_far_off_is_left_to_the_tick(server: Server) -> None:
    publish(server.broker, 1_009_000)
    server.turn()
    assert server.loop.later == []  # type: ignore[attr-defined]
