"""The life of a connection and its channels beside their methods: heartbeats, blocking, ends, and who is told."""

from __future__ import annotations

import pytest

from leveret.errors import ConnectionForced
from leveret.protocol.amqp091.connection import CLOSED, CLOSING, RUNNING
from leveret.wire import methods, requests
from leveret.wire.frames import HEARTBEAT

from .talker import PERSISTENT, Talker, closed, opening, publish, request, start_ok

# ---- heartbeats: every 500 ms a half of the second that was asked for


def beating() -> Talker:
    talker = Talker().opened(1, heartbeat_s=1)
    talker.connection.tick(1_000)
    return talker


def test_silence_of_two_intervals_ends_the_connection() -> None:
    talker = beating()
    talker.connection.tick(1_500)  # what was said until then counts
    for now in (2_000, 2_500, 3_000):
        talker.connection.tick(now)
        assert talker.connection.state == RUNNING
    talker.connection.tick(3_500)
    assert talker.connection.state == CLOSED
    assert talker.connection.close_reason == "missed heartbeats from client, timeout: 1s"
    assert talker.rig.vhost.topology.owned_by(talker.connection) == []


def test_anything_is_a_heartbeat() -> None:
    talker = beating()
    for now in range(1_500, 9_000, 500):
        talker.says(HEARTBEAT if now % 1_000 else request(requests.basic_qos, 1, 1))
        talker.connection.tick(now)
    assert talker.connection.state == RUNNING


def test_heartbeats_are_sent_where_nothing_else_was() -> None:
    talker = beating()
    for now in (1_500, 2_000):
        talker.says(request(requests.basic_qos, 1, 1))
        talker.connection.tick(now)
        talker.turn()
    assert talker.names() == ["basic.qos_ok"] * 2
    talker.says(HEARTBEAT)
    talker.connection.tick(2_500)
    talker.turn()
    assert talker.names() == ["heartbeat"]


def test_who_is_not_read_from_is_not_silent() -> None:
    talker = beating()
    talker.link.paused = True
    for now in range(1_500, 20_000, 500):
        talker.connection.tick(now)
    assert talker.connection.state == RUNNING


def test_without_an_interval_there_are_no_heartbeats() -> None:
    talker = Talker().opened(1)
    assert talker.connection.tick(1_000_000) == 0
    assert talker.connection.tick(2_000_000) == 0
    talker.turn()
    assert (talker.names(), talker.connection.state) == ([], RUNNING)


# ---- blocking


def test_who_wants_to_know_is_told_of_blocking() -> None:
    talker = Talker().opened(1)
    talker.connection.block("low on disk")
    talker.connection.block("low on disk")
    talker.turn()
    assert talker.one()["reason"] == "low on disk"
    talker.connection.unblock()
    talker.connection.unblock()
    talker.turn()
    assert talker.names() == ["connection.unblocked"]


def test_who_comes_while_it_is_so_is_told_at_once() -> None:
    talker = Talker()
    talker.rig.broker.blocked = "low on memory"
    talker.says(opening())
    assert talker.names()[-2:] == ["connection.open_ok", "connection.blocked"]


def test_who_does_not_want_to_know_is_not_told() -> None:
    talker = Talker()
    talker.says(opening().replace(start_ok(), start_ok(capabilities={})))
    talker.heard()
    talker.connection.block("low on disk")
    talker.connection.unblock()
    talker.turn()
    assert talker.names() == []


def test_a_connection_publishes_once_it_has_published_whoever_else_did_so_before() -> None:
    talker = Talker().opened(1)
    talker.declare()
    talker.says(publish(1, "q", b"x"))
    other = Talker(talker.rig).opened(1)
    assert not other.connection.publishes
    other.says(publish(1, "q", b"x"))
    assert other.connection.publishes


# ---- ends


def test_a_consumer_is_told_that_its_queue_is_gone_after_the_answer() -> None:
    talker = Talker().opened(1, 2)
    talker.declare("d", durable=True)
    talker.asks(requests.basic_consume, 1, "d", "first")
    talker.asks(requests.basic_consume, 2, "d", "second")
    talker.says(request(requests.queue_delete, 1, "d"))
    assert [(each.channel, each.name, each["consumer_tag"]) for each in talker.heard()] == [
        (2, "basic.cancel", "second")
    ]
    talker.sync()
    assert talker.names() == ["queue.delete_ok", "basic.cancel"]
    talker.says(request(requests.basic_consume, 1, "d", "first", no_wait=True))
    assert talker.one()["reply_code"] == 404


def test_who_cannot_take_a_cancel_gets_none() -> None:
    talker = Talker()
    talker.says(opening().replace(start_ok(), start_ok(capabilities={})) + request(requests.channel_open, 1))
    talker.heard()
    talker.declare()
    talker.asks(requests.basic_consume, 1, "q", "t")
    talker.asks(requests.queue_delete, 1, "q")
    talker.turn()
    assert talker.names() == []


@pytest.mark.parametrize("end", ["lost", "connection.close", "channel.close", "error"])
def test_what_was_not_settled_goes_to_others_in_its_order(end: str) -> None:
    talker = Talker().opened(1)
    talker.declare()
    talker.says(*[publish(1, "q", body) for body in (b"1", b"2", b"3")])
    talker.asks(requests.basic_get, 1, "q")
    talker.says(request(requests.basic_consume, 1, "q", "t"))
    assert [each.body for each in talker.heard()[1:]] == [b"2", b"3"]
    other = Talker(talker.rig).opened(1)
    other.asks(requests.basic_consume, 1, "q", "o", no_ack=True)
    if end == "lost":
        talker.lost()
    else:
        talker.says(
            {
                "connection.close": request(methods.connection_close, 200, "", 0, 0),
                "channel.close": request(methods.channel_close, 1, 200, "", 0, 0),
                "error": request(methods.basic_ack, 1, 99, False),
            }[end]
        )
    other.turn()
    assert [(each.body, each["redelivered"]) for each in other.heard()] == [
        (b"1", True),
        (b"2", True),
        (b"3", True),
    ]


def test_exclusive_queues_go_with_their_connection_and_no_channel_hears_of_it() -> None:
    talker = Talker().opened(1, 2)
    talker.declare(exclusive=True)
    talker.asks(requests.basic_consume, 1, "q", "t")
    talker.asks(requests.basic_consume, 2, "q", "t")
    talker.says(request(methods.connection_close, 200, "", 0, 0))
    talker.sync()
    assert talker.names() == ["connection.close_ok"]
    assert "q" not in talker.rig.vhost.topology.queues


def test_the_broker_closes() -> None:
    talker = Talker().opened(1)
    talker.declare(exclusive=True)
    talker.connection.close(ConnectionForced("broker forced connection closure with reason 'shutdown'"))
    talker.turn()
    assert closed(talker.one()) == (
        "connection.close",
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
        (0, 0),
    )
    assert talker.connection.state == CLOSING
    talker.says(publish(1, "q", b"x") + request(methods.connection_close_ok))
    assert talker.connection.state == CLOSED


def test_what_the_broker_cannot_do_ends_the_connection() -> None:
    """A queue whose pages cannot be read is no fault of the client's."""
    talker = Talker().opened(1)
    talker.declare()
    talker.rig.vhost.topology.queues["q"].fail("page 3 is damaged")  # type: ignore[attr-defined]
    talker.says(request(requests.basic_get, 1, "q"))
    name, code, text, _ = closed(talker.one())
    assert (name, code) == ("connection.close", 541)
    assert "page 3 is damaged" in str(text)


def test_a_cancel_ok_that_nobody_asked_for_is_a_cancel() -> None:
    talker = Talker().opened(1)
    talker.declare()
    talker.asks(requests.basic_consume, 1, "q", "t")
    talker.says(request(methods.basic_cancel_ok, 1, "t"), publish(1, "q", b"x"))
    assert talker.names() == []
    assert talker.bodies() == [b"x"]


def test_channels_are_counted() -> None:
    talker = Talker()
    talker.says(opening(channel_max=2))
    talker.says(*[request(requests.channel_open, channel) for channel in (7, 1_000)])
    talker.heard()
    talker.says(request(requests.channel_open, 3))
    assert closed(talker.one()) == (
        "connection.close",
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
        (0, 0),
    )


def test_deliveries_stop_while_the_other_side_does_not_read() -> None:
    talker = Talker().opened(1)
    talker.declare()
    other = Talker(talker.rig).opened(1)
    other.asks(requests.basic_consume, 1, "q", "t", no_ack=True)
    other.peer.unsent = 2_000_000  # what the socket has not taken
    talker.says(publish(1, "q", b"x"))
    other.turn()
    assert other.names() == []
    other.peer.unsent = 0
    other.peer.drained()
    other.turn()
    assert other.names() == ["basic.deliver"]


def test_persistent_messages_outlive_the_broker() -> None:
    talker = Talker().opened(1)
    talker.declare("d", durable=True)
    talker.says(publish(1, "d", b"kept", PERSISTENT), publish(1, "d", b"not"))
    talker.sync()
    talker.rig = talker.rig.crash()
    assert Talker(talker.rig).opened(1).bodies("d") == [b"kept"]
