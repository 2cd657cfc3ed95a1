"""A message of another protocol, delivered by AMQP 0-9-1: what its view says of it, in AMQP's frames."""

from __future__ import annotations

import pytest

from leveret.core.view import View, register, view_of
from leveret.limits import FRAME_MAX_BYTES
from leveret.message import AMQP091, Message
from leveret.protocol.amqp091.foreign import as_amqp, made
from leveret.wire.methods import route_bytes
from leveret.wire.properties import Properties

OTHER = 15
ROUTE = route_bytes("", "q")


class OtherView(View):
    def properties(self, m: Message) -> Properties:
        return Properties(content_type="text/other", headers={"n": 1})

    def body(self, m: Message) -> bytes:
        return m.data[::-1]


@pytest.fixture(autouse=True)
def other() -> None:
    register(OTHER, OtherView())


@pytest.mark.parametrize("size_bytes", [0, 1, FRAME_MAX_BYTES - 8, FRAME_MAX_BYTES - 7, 3 * FRAME_MAX_BYTES])
def test_properties_and_bodies_come_back_as_they_were(size_bytes: int) -> None:
    properties = Properties(
        content_type="text/plain", headers={"a": [1, "b"]}, delivery_mode=2, message_id="m"
    )
    body = bytes(range(251)) * (size_bytes // 251) + bytes(size_bytes % 251)
    m = made(properties, body, ROUTE, True)
    assert (m.protocol, m.size_bytes, m.persistent, m.route) == (AMQP091, size_bytes, True, ROUTE)
    view = view_of(m)
    assert view.properties(m) == properties
    assert view.body(m) == body


def test_a_message_of_another_protocol_is_told_in_amqps_words() -> None:
    m = as_amqp(Message(b"abc", ROUTE, 3, True, OTHER))
    view = view_of(m)
    assert m.protocol == AMQP091
    assert view.properties(m) == Properties(content_type="text/other", headers={"n": 1})
    assert (view.body(m), m.size_bytes, m.persistent) == (b"cba", 3, True)
    assert as_amqp(m) is m
