"""Which method says what of a delivery: what is counted, what is tried again, what a message may not ask."""

from __future__ import annotations

import pytest

from leveret.wire import methods, requests
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.table import encode_table

from .talker import PERSISTENT, Heard, Talker, publish, request

QUORUM: dict[str, object] = {"x-queue-type": "quorum"}
RETRYING: dict[str, object] = {"x-retry": "fixed;delay=1s"}


def talker_with(arguments: dict[str, object]) -> Talker:
    talker = Talker().opened(1)
    declared = talker.asks(requests.queue_declare, 1, "q", durable=True, arguments=encode_table(arguments))
    assert declared.name == "queue.declare_ok"
    return talker


def get(talker: Talker) -> Heard:
    return talker.asks(requests.basic_get, 1, "q")


def headers(got: Heard) -> dict[str, object]:
    return decode_properties(got.properties, 0, len(got.properties)).headers or {}


REQUEUED = {
    "nack": (request(methods.basic_nack, 1, 1, False, True), {"x-acquired-count": 1}),
    "reject": (
        request(requests.basic_reject, 1, 1, True),
        {"x-acquired-count": 1, "x-delivery-count": 1},
    ),
    "recover": (request(requests.basic_recover, 1, True), {"x-acquired-count": 1}),
}


@pytest.mark.parametrize("how", REQUEUED)
def test_what_counts_as_a_failed_delivery(how: str) -> None:
    talker = talker_with(QUORUM)
    talker.says(publish(1, "q", b"m", PERSISTENT))
    get(talker)
    said, wanted = REQUEUED[how]
    talker.says(said)
    talker.sync()
    talker.heard()
    got = get(talker)
    assert got["redelivered"]
    assert (got.body, headers(got)) == (b"m", wanted)


def test_a_lost_connection_and_a_closed_channel_count() -> None:
    talker = talker_with(QUORUM)
    talker.says(publish(1, "q", b"m", PERSISTENT))
    get(talker)
    talker.lost()
    talker = Talker(talker.rig).opened(1, 2)
    assert headers(get(talker))["x-delivery-count"] == 1
    talker.says(request(methods.channel_close, 1, 200, "", 0, 0))
    talker.sync()
    talker.heard()
    got = talker.asks(requests.basic_get, 2, "q")
    assert headers(got) == {"x-acquired-count": 2, "x-delivery-count": 2}


@pytest.mark.parametrize("how", ["nack", "reject", "lost"])
def test_what_is_tried_again_later(how: str) -> None:
    talker = talker_with(RETRYING)
    talker.says(publish(1, "q", b"m", PERSISTENT))
    get(talker)
    if how == "lost":
        talker.lost()
        talker = Talker(talker.rig).opened(1)
    elif how == "nack":
        talker.says(request(methods.basic_nack, 1, 1, False, False))
    else:
        talker.says(request(requests.basic_reject, 1, 1, False))
    assert get(talker).name == "basic.get_empty"
    talker.rig.pass_time(int(talker.rig.broker.turn.now_ms) + 1_000)
    reason = "consumer-lost" if how == "lost" else "rejected"
    assert headers(get(talker)) == {"x-retry-count": 1, "x-retry-reason": reason}


@pytest.mark.parametrize("how", REQUEUED)
def test_what_is_back_at_once(how: str) -> None:
    talker = talker_with(RETRYING)
    talker.says(publish(1, "q", b"m", PERSISTENT))
    get(talker)
    talker.says(REQUEUED[how][0])
    talker.sync()
    talker.heard()
    assert headers(get(talker)) == {}


def test_a_policy_that_makes_no_sense_closes_the_channel() -> None:
    talker = talker_with(RETRYING)
    properties = encode_properties(Properties(headers={"x-retry": {"often": True}}))
    talker.says(publish(1, "q", b"m", properties))
    talker.sync()
    (closed,) = talker.heard()
    assert (closed.name, closed["reply_code"]) == ("channel.close", 406)
    assert closed["reply_text"] == (
        "PRECONDITION_FAILED - invalid header 'x-retry': "
        "unknown key 'often', expected type, delay, max-delay, multiplier, jitter, max"
    )
    assert talker.rig.vhost.queue("q", None).ready_count() == 0
