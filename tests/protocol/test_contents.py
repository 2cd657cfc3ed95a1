"""Contents in and out: in pieces, interleaved, in splinters, and cut again for a side with smaller frames."""

from __future__ import annotations

import pytest

from leveret.limits import HELD_FRAMES_BYTES
from leveret.wire import methods, requests
from leveret.wire.frames import FRAME_BODY, content_header, open_frame

from .talker import NO_PROPERTIES, PERSISTENT, Talker, opening, publish, request


def body_frame(channel: int, body: bytes) -> bytes:
    return request(open_frame, FRAME_BODY, channel, len(body)) + body + b"\xce"


def start(channel: int, key: str, size: int) -> tuple[bytes, bytes]:
    """A publish and its content header."""
    return (
        request(requests.basic_publish_raw, channel, methods.route_bytes("", key)),
        request(content_header, channel, size, NO_PROPERTIES),
    )


def conversation() -> bytes:
    """A bit of everything that is answered without the disk."""
    said = opening() + request(requests.channel_open, 1) + request(requests.channel_open, 2)
    said += request(requests.queue_declare, 1, "q", exclusive=True)
    said += request(requests.confirm_select, 2) + request(requests.basic_qos, 1, 10)
    said += request(requests.basic_consume, 1, "q", "t") + request(requests.basic_get, 2, "q")
    for number in range(8):
        said += publish(2, "q", bytes(number * 7), PERSISTENT if number % 2 else NO_PROPERTIES)
    said += publish(1, "nobody", b"back", mandatory=True)
    said += publish(1, "q", bytes(20_000), frame_max=4_096)
    said += request(methods.basic_nack, 1, 3, True, True) + request(methods.basic_ack, 1, 0, True)
    said += request(requests.tx_select, 1) + publish(1, "q", b"in tx") + request(requests.tx_rollback, 1)
    return said + b"\x08\0\0\0\0\0\0\xce" + request(requests.basic_recover, 1, True)


def outcome(step: int) -> list[str]:
    talker = Talker()
    # in turns, since deliveries and acks are of turns
    whole = conversation()
    for at in range(0, len(whole), step or len(whole)):
        talker.peer.receive(whole[at : at + step] if step else whole)
    talker.turn()
    talker.sync()
    return [repr(each) for each in talker.heard()]


@pytest.mark.parametrize("step", [1, 2, 7, 23, 100, 4_096])
def test_pieces_are_the_same_as_the_whole(step: int) -> None:
    assert outcome(step) == outcome(0)


def test_contents_of_channels_are_interleaved() -> None:
    talker = Talker().opened(1, 2)
    talker.declare(exclusive=True)
    one, one_header = start(1, "q", 4)
    two, two_header = start(2, "q", 4)
    talker.says(one, two, one_header, two_header)
    talker.says(body_frame(1, b"on"), body_frame(2, b"tw"), body_frame(2, b"o!"), body_frame(1, b"e!"))
    assert talker.bodies() == [b"two!", b"one!"]


@pytest.mark.parametrize("step", [0, 1])
def test_splinters_are_put_together(step: int) -> None:
    """Nobody's consumers are made to read one frame for each byte."""
    talker = Talker().opened(1)
    talker.declare(exclusive=True)
    body = bytes(range(256)) * 4
    method, header = start(1, "q", len(body))
    pieces = b"".join(body_frame(1, b"") + body_frame(1, bytes([octet])) for octet in body)
    talker.says(method + header + pieces, step=step)
    got = talker.asks(requests.basic_get, 1, "q")
    assert (got.body, got.frames) == (body, [len(body) + 8])
    assert talker.connection.gathered_bytes == 0


def test_frames_of_a_fair_size_stay_as_they_are() -> None:
    talker = Talker().opened(1)
    talker.declare(exclusive=True)
    talker.says(publish(1, "q", bytes(10_000), frame_max=4_096))
    assert talker.asks(requests.basic_get, 1, "q").frames == [4_096, 4_096, 10_000 - 2 * 4_088 + 8]


@pytest.mark.parametrize("size", [0, 1, 8_184, 8_185, 65_536, 131_064, 131_072, 300_000])
@pytest.mark.parametrize("get", [True, False], ids=["get", "consume"])
def test_bodies_are_cut_to_the_receivers_frames(size: int, get: bool) -> None:
    talker = Talker().opened(1)
    talker.declare()
    other = Talker(talker.rig).opened(300, frame_max=8_192)
    body = bytes(range(251)) * (size // 251 + 1)
    properties = b"\x90\0\x0atext/plain\x02"
    talker.says(publish(1, "q", body[:size], properties, frame_max=131_080))
    if get:
        other.says(request(requests.basic_get, 300, "q", no_ack=True))
    else:
        other.says(request(requests.basic_consume, 300, "q", "t", no_ack=True, no_wait=True))
    other.sync()
    found = other.one()
    assert found.name == ("basic.get_ok" if get else "basic.deliver")
    assert (found.channel, found.body, found.properties) == (300, body[:size], properties)
    assert max(found.frames, default=0) <= 8_192


def test_a_publish_that_ends_beyond_its_turn_goes_where_the_queue_is_then() -> None:
    """The queue that was there when the publish began is gone when its body is whole."""
    talker = Talker().opened(1, 2)
    talker.declare()
    method, header = start(1, "q", 100_000)
    talker.says(method, header, body_frame(1, bytes(60_000)))
    assert talker.asks(requests.queue_delete, 2, "q").name == "queue.delete_ok"
    talker.declare(channel=2)
    talker.says(body_frame(1, bytes(40_000)))
    assert [len(body) for body in talker.bodies(channel=2)] == [100_000]
    talker.says(method, header, body_frame(1, bytes(60_000)))
    assert talker.asks(requests.queue_delete, 2, "q")["message_count"] == 0
    talker.says(body_frame(1, bytes(40_000)))
    assert talker.heard() == []
    assert talker.rig.vhost.unroutable == 1


def test_unfinished_contents_are_bounded() -> None:
    talker = Talker().opened(*range(1, 10))
    for channel in range(1, 10):
        method, header = start(channel, "q", 16_000_000)
        talker.says(method, header, *[body_frame(channel, bytes(131_064)) for _ in range(80)])
    assert [each["reply_code"] for each in talker.heard()] == [506]
    assert talker.connection.gathered_bytes == 0


def test_what_is_not_whole_is_forgotten_with_its_channel() -> None:
    talker = Talker().opened(1)
    method, header = start(1, "q", 100_000)
    talker.says(method, header, body_frame(1, bytes(50_000)))
    assert talker.connection.gathered_bytes > 50_000
    talker.lost()
    assert talker.connection.gathered_bytes == 0


# ---- frames that come while an answer is owed


def test_a_channel_waits_for_the_disk_and_the_others_do_not() -> None:
    talker = Talker().opened(1, 2)
    talker.says(
        request(requests.queue_declare, 1, "d", durable=True)
        + publish(1, "d", b"x")
        + request(requests.basic_qos, 1, 1)
        + request(requests.queue_declare, 1, "e", durable=True)
        + request(requests.basic_qos, 1, 2)
        + request(requests.basic_qos, 2, 1)
    )
    assert [(each.channel, each.name) for each in talker.heard()] == [(2, "basic.qos_ok")]
    talker.sync()
    assert talker.names() == ["queue.declare_ok", "basic.qos_ok", "queue.declare_ok", "basic.qos_ok"]
    assert talker.bodies("d") == [b"x"]


def test_a_get_that_waits_holds_what_comes_behind_it() -> None:
    """The first delivery from a durable queue waits for a mark in the log."""
    talker = Talker().opened(1)
    talker.declare("d", durable=True)
    talker.says(publish(1, "d", b"1", PERSISTENT), publish(1, "d", b"2", PERSISTENT))
    gets = request(requests.basic_get, 1, "d") * 3
    talker.says(gets + request(requests.queue_delete, 1, "d") + request(requests.basic_get, 1, "d"))
    held = talker.heard()
    talker.sync()
    heard = held + talker.heard()
    assert [each.name for each in heard] == [
        "basic.get_ok",
        "basic.get_ok",
        "basic.get_empty",
        "queue.delete_ok",
        "channel.close",
    ]
    assert [each.body for each in heard[:2]] == [b"1", b"2"]


def test_what_is_held_is_bounded_by_reading_no_more() -> None:
    talker = Talker().opened(1)
    talker.says(request(requests.queue_declare, 1, "d", durable=True))
    talker.says(publish(1, "d", bytes(60_000)) * (HELD_FRAMES_BYTES // 60_000))
    assert not talker.link.paused
    talker.says(publish(1, "d", bytes(60_000)) * 2)
    assert talker.link.paused
    talker.sync()
    assert not talker.link.paused
    assert talker.one()["message_count"] == 0
    assert len(talker.bodies("d")) == HELD_FRAMES_BYTES // 60_000 + 2


def test_a_channel_that_is_closed_while_it_is_held_may_be_opened_again() -> None:
    talker = Talker().opened(1)
    talker.says(
        request(requests.queue_declare, 1, "d", durable=True)
        + request(methods.channel_close, 1, 200, "", 0, 0)
        + request(requests.channel_open, 1)
        + request(requests.queue_declare, 1, "e", durable=True)
        + request(requests.basic_qos, 1, 1)
    )
    talker.sync()
    assert talker.names() == [
        "queue.declare_ok",
        "channel.close_ok",
        "channel.open_ok",
        "queue.declare_ok",
        "basic.qos_ok",
    ]


def test_a_publish_that_was_held_counts_though_the_connection_is_closed_at_once() -> None:
    talker = Talker().opened(1)
    talker.says(
        request(requests.queue_declare, 1, "d", durable=True)
        + publish(1, "d", b"kept")
        + request(methods.connection_close, 200, "", 0, 0)
    )
    assert talker.names() == ["connection.close_ok"]
    assert Talker(talker.rig).opened(1).bodies("d") == [b"kept"]


def test_an_error_in_what_was_held_ends_the_connection() -> None:
    talker = Talker().opened(1)
    talker.says(
        request(requests.queue_declare, 1, "d", durable=True)
        + request(requests.basic_qos, 1, 1, prefetch_size_bytes=1)
        + request(requests.basic_qos, 1, 1)
    )
    talker.sync()
    assert talker.names() == ["queue.declare_ok", "connection.close"]


def test_a_get_whose_channel_is_gone_takes_no_message() -> None:
    talker = Talker().opened(1)
    talker.declare("d", durable=True)
    talker.says(publish(1, "d", b"x", PERSISTENT))
    talker.sync()
    talker.says(request(requests.basic_get, 1, "d"))
    talker.lost()
    assert Talker(talker.rig).opened(1).bodies("d") == [b"x"]
