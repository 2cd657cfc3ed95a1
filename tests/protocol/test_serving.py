"""Consumers' arguments over the wire: what they do, and what a consumer that takes too long hears."""

from __future__ import annotations

import pytest

from leveret.wire import methods, requests
from leveret.wire.table import encode_table

from .talker import Talker, closed, publish, request

SINGLE: dict[str, object] = {"x-single-active-consumer": True}
QUORUM: dict[str, object] = {"x-queue-type": "quorum"}
LIMIT_MS = 1_600


def declared(arguments: dict[str, object]) -> Talker:
    talker = Talker().opened(1)
    answer = talker.asks(requests.queue_declare, 1, "q", durable=True, arguments=encode_table(arguments))
    assert answer.name == "queue.declare_ok"
    return talker


def consume(talker: Talker, tag: str, arguments: dict[str, object], **options: bool) -> None:
    answer = talker.asks(requests.basic_consume, 1, "q", tag, arguments=encode_table(arguments), **options)
    assert answer.name == "basic.consume_ok"


def tick(talker: Talker, since_ms: int, ms: int) -> None:
    for now in range(since_ms, since_ms + ms + 1, 100):
        talker.rig.broker.tick(now)
        talker.sync()


def test_priorities() -> None:
    talker = declared({})
    for tag, priority in (("low", -1), ("none", 0), ("high", 10)):
        consume(talker, tag, {"x-priority": priority} if priority else {})
    talker.says(publish(1, "q", b"x"))
    talker.sync()
    assert talker.one()["consumer_tag"] == "high"


def test_a_get_where_one_consumer_gets_everything() -> None:
    talker = declared(SINGLE | QUORUM)
    text = (
        "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not "
        'supported by <<"quorum">> queues with single active consumer'
    )
    assert closed(talker.asks(requests.basic_get, 1, "q")) == ("channel.close", 405, text, (60, 70))
    assert declared(SINGLE).asks(requests.basic_get, 1, "q").name == "basic.get_empty"


@pytest.mark.parametrize("name", ["x-consumer-timeout"])
def test_what_a_classic_queue_does_not_have(name: str) -> None:
    talker = declared({})
    answer = talker.asks(requests.basic_consume, 1, "q", "", arguments=encode_table({name: 5}))
    text = f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"
    assert closed(answer)[1:3] == (406, text)


def late(closes: bool) -> Talker:
    """A consumer with a limit has not settled what it got."""
    talker = declared(QUORUM | {"x-consumer-timeout": LIMIT_MS})
    talker.connection.settings.overdue_closes_channel = closes
    talker.asks(requests.basic_qos, 1, 1)
    consume(talker, "slow", {})
    talker.says(publish(1, "q", b"x"))
    talker.sync()
    assert talker.names() == ["basic.deliver"]
    tick(talker, 100_000, LIMIT_MS + 200)
    return talker


def test_a_consumer_that_takes_too_long_keeps_its_channel() -> None:
    talker = late(False)
    assert talker.heard() == []
    talker.says(request(methods.basic_ack, 1, 1, False))  # changes nothing but that it has credit again
    talker.sync()
    again = talker.one()
    assert (again.name, again["delivery_tag"], again["redelivered"]) == ("basic.deliver", 2, True)
    talker.says(request(methods.basic_ack, 1, 2, False))
    assert talker.bodies() == []
    talker.says(request(methods.basic_ack, 1, 2, False))
    assert closed(talker.one())[2] == "PRECONDITION_FAILED - unknown delivery tag 2"


def test_or_loses_it_where_that_is_configured() -> None:
    talker = late(True)
    text = (
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1600 ms. "
        "This timeout value can be configured, see consumers doc guide to learn more"
    )
    assert closed(talker.one()) == ("channel.close", 406, text, (0, 0))
    talker.says(request(methods.channel_close_ok, 1), request(requests.channel_open, 1))
    talker.heard()
    got = talker.asks(requests.basic_get, 1, "q", no_ack=True)
    assert (got.body, got["redelivered"]) == (b"x", True)
