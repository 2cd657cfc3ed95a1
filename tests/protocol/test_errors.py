"""What ends a channel or a connection: code, text, and the method that the close names (as RabbitMQ 4.3's)."""

from __future__ import annotations

import struct

import pytest

from leveret.wire import methods, requests
from leveret.wire.frames import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, PROTOCOL_HEADER

from .talker import Talker, closed, publish, request, start_ok


def frame(kind: int, channel: int, payload: bytes, end: int = 206) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def method(cls: int, number: int, arguments: bytes = b"", channel: int = 1) -> bytes:
    return frame(FRAME_METHOD, channel, struct.pack(">HH", cls, number) + arguments)


def header(size: int, cls: int = 60, weight: int = 0, properties: bytes = b"\0\0", channel: int = 1) -> bytes:
    return frame(FRAME_HEADER, channel, struct.pack(">HHQ", cls, weight, size) + properties)


def body(data: bytes, channel: int = 1) -> bytes:
    return frame(FRAME_BODY, channel, data)


PUBLISH = request(requests.basic_publish_raw, 1, methods.route_bytes("", "q"))
QOS = request(requests.basic_qos, 1, 0)
NO_HEADER = "expected content header for class 60, got non content header frame instead"
NO_BODY = "expected content body, got non content body frame instead"
NO_METHOD = "expected method frame, got non method frame instead"

# what is sent on an open channel 1, code, text (or its start), class and method named
HARD: dict[str, tuple[bytes, int, str, tuple[int, int]]] = {
    "end marker": (
        frame(1, 1, b"\0\x3c\0\x0a", 0),
        501,
        "FRAME_ERROR - type 1, all octets = <<0,60,0,10>>: {invalid_frame_end_marker,0}",
        (0, 0),
    ),
    "end marker behind text": (
        frame(3, 1, b"a long body of a frame", 7),
        501,
        'FRAME_ERROR - type 3, first 16 octets = <<"a long body of a">>: {invalid_frame_end_marker,7}',
        (0, 0),
    ),
    "too large": (
        struct.pack(">BHI", 1, 1, 131_073),
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}",
        (0, 0),
    ),
    "largest of all": (
        struct.pack(">BHI", 3, 1, 0xFFFFFFFF),
        501,
        "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4294967295,131064}",
        (0, 0),
    ),
    "unknown type": (
        frame(5, 1, b"abc"),
        501,
        'FRAME_ERROR - type 5, all octets = <<"abc">>: unknown_frame',
        (0, 0),
    ),
    "unknown type, no such channel": (
        frame(0, 9, b""),
        501,
        "FRAME_ERROR - type 0, all octets = <<>>",
        (0, 0),
    ),
    "short method": (frame(1, 1, b"\0\x3c"), 501, "FRAME_ERROR - type 1, all octets = <<0,60>>", (0, 0)),
    "short header": (frame(2, 1, b"\0\x3c"), 501, "FRAME_ERROR - type 2, all octets = <<0,60>>", (0, 0)),
    "heartbeat that says something": (
        frame(FRAME_HEARTBEAT, 0, b"x"),
        501,
        'FRAME_ERROR - type 8, all octets = <<"x">>: unknown_frame',
        (0, 0),
    ),
    "heartbeat on a channel": (
        frame(FRAME_HEARTBEAT, 1, b""),
        505,
        "UNEXPECTED_FRAME - type 8, all octets = <<>>",
        (0, 0),
    ),
    "content on channel 0": (
        header(0, channel=0),
        505,
        "UNEXPECTED_FRAME - type 2, all octets = ",
        (0, 0),
    ),
    "header first": (header(0), 505, "UNEXPECTED_FRAME - " + NO_METHOD, (0, 0)),
    "body first": (body(b"x"), 505, "UNEXPECTED_FRAME - " + NO_METHOD, (0, 0)),
    "body on a new channel": (body(b"x", 2), 505, "UNEXPECTED_FRAME - " + NO_METHOD, (0, 0)),
    "method, not header": (PUBLISH + QOS, 505, "UNEXPECTED_FRAME - " + NO_HEADER, (60, 40)),
    "body, not header": (PUBLISH + body(b"x"), 505, "UNEXPECTED_FRAME - " + NO_HEADER, (60, 40)),
    "header with a weight": (PUBLISH + header(0, weight=1), 505, "UNEXPECTED_FRAME - " + NO_HEADER, (60, 40)),
    "header of another class": (
        PUBLISH + header(0, cls=50),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        (60, 40),
    ),
    "method, not body": (PUBLISH + header(2) + QOS, 505, "UNEXPECTED_FRAME - " + NO_BODY, (60, 40)),
    "header, not body": (PUBLISH + header(2) + header(2), 505, "UNEXPECTED_FRAME - " + NO_BODY, (60, 40)),
    "body beyond its size": (
        PUBLISH + header(2) + body(b"xxx"),
        501,
        "FRAME_ERROR - content body frame exceeds remaining content size",
        (60, 40),
    ),
    "body beyond all sizes": (
        PUBLISH + header(1 << 63),
        501,
        "FRAME_ERROR - content body size 9223372036854775808 exceeds maximum allowed size 536870912",
        (60, 40),
    ),
    "header without properties": (
        PUBLISH + frame(2, 1, b"\0\x3c" + bytes(10)),
        502,
        "SYNTAX_ERROR - ",
        (60, 40),
    ),
    "properties cut short": (
        PUBLISH + header(1, properties=b"\x80\0\x10a") + body(b"x"),
        502,
        "SYNTAX_ERROR - ",
        (0, 0),
    ),
    "properties cut short, gathered": (
        PUBLISH + header(2, properties=b"\x80\0\x10a") + body(b"x") + body(b"") + body(b"y"),
        502,
        "SYNTAX_ERROR - ",
        (60, 40),
    ),
    "arguments cut short": (
        method(50, 10, b"\0\0\x05ab"),
        501,
        "FRAME_ERROR - cannot decode <<0,0,5,",
        (50, 10),
    ),
    "arguments and more": (
        QOS[:3] + b"\0\0\0\x0c" + QOS[7:-1] + b"\0\xce",
        501,
        "FRAME_ERROR - cannot ",
        (60, 10),
    ),
    "name that is no UTF-8": (
        method(50, 10, b"\0\0\x01\xff\0\0\0\0\0"),
        501,
        "FRAME_ERROR - Malformed UTF-8 in shortstr",
        (0, 0),
    ),
    "publish whose key is cut": (
        method(60, 40, b"\0\0\0\xffabc") + header(0),
        501,
        "FRAME_ERROR - cannot decode <<",
        (60, 40),
    ),
    "publish whose exchange is cut": (
        method(60, 40, b"\0\0\xc8abc") + header(0),
        501,
        "FRAME_ERROR - cannot de",
        (60, 40),
    ),
    "publish with more behind": (
        method(60, 40, b"\0\0\0\0\0\0") + header(0),
        501,
        "FRAME_ERROR - cannot decode <<",
        (60, 40),
    ),
    "ack with more behind": (method(60, 80, bytes(10)), 501, "FRAME_ERROR - cannot decode <<", (60, 80)),
    "table that breaks off": (
        method(50, 10, bytes(4) + b"\0\0\0\x02\x05a"),
        502,
        "SYNTAX_ERROR - ",
        (50, 10),
    ),
    "unknown method": (method(60, 99), 503, "COMMAND_INVALID - unknown method {60,99}", (0, 0)),
    "unknown class on channel 0": (
        method(99, 1, channel=0),
        503,
        "COMMAND_INVALID - unknown method ",
        (0, 0),
    ),
    "unknown method, no such channel": (method(99, 1, channel=2), 503, "COMMAND_INVALID - unknown ", (0, 0)),
    "the broker's method": (method(90, 11), 503, "COMMAND_INVALID - unimplemented method", (90, 11)),
    "close-ok unasked": (method(20, 41), 503, "COMMAND_INVALID - unimplemented method", (20, 41)),
    "channel 0's method": (method(10, 51), 503, "COMMAND_INVALID - unimplemented method", (10, 51)),
    "a channel's method on channel 0": (
        method(90, 10, channel=0),
        504,
        "CHANNEL_ERROR - unexpected method in connection state running",
        (90, 10),
    ),
    "tune-ok again": (
        request(requests.connection_tune_ok, 0, 0, 0),
        504,
        "CHANNEL_ERROR - unexpected method in connection state running",
        (10, 31),
    ),
    "no such channel": (method(90, 10, channel=2), 504, "CHANNEL_ERROR - expected 'channel.open'", (90, 10)),
    "no such channel, cut short": (
        method(60, 80, channel=2),
        501,
        "FRAME_ERROR - cannot decode <<>>",
        (60, 80),
    ),
    "open again": (method(20, 10, b"\0"), 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10)),
    "immediate": (
        method(60, 40, b"\0\0\0\x01q\x02") + header(0),
        540,
        "NOT_IMPLEMENTED - immediate=true",
        (60, 40),
    ),
    "prefetch size": (
        request(requests.basic_qos, 1, 0, prefetch_size_bytes=9),
        540,
        "NOT_IMPLEMENTED - prefetch_size!=0 (9)",
        (60, 10),
    ),
    "flow": (
        request(methods.channel_flow, 1, False),
        540,
        "NOT_IMPLEMENTED - active=false",
        (20, 20),
    ),
    "recover without requeue": (
        request(requests.basic_recover, 1, False),
        540,
        "NOT_IMPLEMENTED - requeue=false",
        (60, 110),
    ),
}


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("sent", "code", "text", "where"), HARD.values(), ids=HARD)
def test_ends_the_connection(sent: bytes, code: int, text: str, where: tuple[int, int], step: int) -> None:
    talker = Talker().opened(1)
    talker.says(sent, step=step)
    name, found_code, found_text, found_where = closed(talker.one())
    assert (name, found_code, found_where) == ("connection.close", code, where)
    assert str(found_text).startswith(text)
    talker.says(QOS, publish(1, "q", b"x"), request(requests.channel_open, 5))
    assert talker.names() == []
    if not talker.peer.stopped:
        talker.says(request(methods.connection_close_ok))
    assert talker.names() == []
    assert talker.peer.stopped


# what is sent on an open channel 1, code, text (or its start), method named
SOFT: dict[str, tuple[bytes, int, str, tuple[int, int]]] = {
    "no queue": (
        request(requests.queue_declare, 1, "none", passive=True),
        404,
        "NOT_FOUND - no queue 'none' in vhost '/'",
        (50, 10),
    ),
    "no name for a passive declare": (
        request(requests.queue_declare, 1, "", passive=True),
        404,
        "NOT_FOUND - no queue '' in vhost '/'",
        (50, 10),
    ),
    "no last queue": (
        request(requests.queue_purge, 1, ""),
        404,
        "NOT_FOUND - no previously declared queue",
        (50, 30),
    ),
    "no exchange": (
        publish(1, "k", b"x", exchange="none"),
        404,
        "NOT_FOUND - no exchange 'none' in vhost '/'",
        (60, 40),
    ),
    "no exchange, before its content": (
        request(requests.basic_publish_raw, 1, methods.route_bytes("none", "k")) + header(100_000),
        404,
        "NOT_FOUND - no exchange 'none' in vhost '/'",
        (60, 40),
    ),
    "unknown tag": (
        request(methods.basic_ack, 1, 7, False),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 7",
        (60, 80),
    ),
    "unknown tag, nack": (
        request(methods.basic_nack, 1, 7, True, True),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 7",
        (60, 120),
    ),
    "unknown tag, reject": (
        request(requests.basic_reject, 1, 7, True),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 7",
        (60, 90),
    ),
    "greatest tag": (
        request(methods.basic_ack, 1, (1 << 64) - 1, False),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 18446744073709551615",
        (60, 80),
    ),
    "another's user-id": (
        publish(1, "q", b"x", b"\0\x10\x07mallory"),
        406,
        "PRECONDITION_FAILED - user_id property set to 'mallory' but authenticated user was 'guest'",
        (60, 40),
    ),
    "message too large": (
        PUBLISH + header(16_777_217),
        406,
        "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216",
        (60, 40),
    ),
    "commit without tx": (
        request(requests.tx_commit, 1),
        406,
        "PRECONDITION_FAILED - channel is not transactional",
        (90, 20),
    ),
    "confirm in tx": (
        request(requests.tx_select, 1) + request(requests.confirm_select, 1),
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
        (85, 10),
    ),
}


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("sent", "code", "text", "where"), SOFT.values(), ids=SOFT)
def test_ends_the_channel(sent: bytes, code: int, text: str, where: tuple[int, int], step: int) -> None:
    talker = Talker().opened(1, 2)
    talker.says(sent, step=step)
    heard = talker.heard()
    name, found_code, found_text, found_where = closed(heard[-1])
    assert (name, heard[-1].channel, found_code, found_where) == ("channel.close", 1, code, where)
    assert str(found_text).startswith(text)
    # what comes before close-ok is passed over, the other channel is not
    talker.says(QOS, publish(1, "q", b"x"), request(requests.basic_qos, 2, 1))
    assert [(each.channel, each.name) for each in talker.heard()] == [(2, "basic.qos_ok")]
    talker.says(request(methods.channel_close_ok, 1), request(requests.channel_open, 1))
    assert talker.names() == ["channel.open_ok"]


def test_both_sides_close_a_channel_at_once() -> None:
    talker = Talker().opened(1)
    talker.says(request(methods.basic_ack, 1, 7, False) + request(methods.channel_close, 1, 200, "", 0, 0))
    assert talker.names() == ["channel.close", "channel.close_ok"]
    talker.says(request(methods.channel_close_ok, 1) + request(requests.channel_open, 1))
    assert talker.names() == ["channel.open_ok"]


def test_both_sides_close_the_connection_at_once() -> None:
    talker = Talker().opened(1)
    talker.says(frame(5, 1, b"") + request(methods.connection_close, 200, "bye", 0, 0))
    assert talker.names() == ["connection.close", "connection.close_ok"]
    talker.says(request(methods.connection_close_ok))
    assert talker.peer.stopped


def test_a_lost_place_is_told_once_and_nothing_is_read_any_more() -> None:
    talker = Talker().opened(1)
    talker.says(frame(1, 1, b"\0\x3c\0\x0a", 0) * 3)
    assert talker.names() == ["connection.close"]
    talker.says(request(methods.connection_close_ok))
    assert talker.peer.rest_bytes == 0


# what is said instead of what is due; the code of the close
BEFORE_OPEN: dict[str, tuple[bytes, int]] = {
    "another mechanism": (start_ok(mechanism="NTLM"), 503),
    "wrong password": (start_ok("wrong"), 403),
    "malformed PLAIN": (start_ok(response=b"guest"), 502),
    "acting for another": (start_ok(response=b"root\0guest\0guest"), 502),
    "malformed AMQPLAIN": (start_ok(mechanism="AMQPLAIN", response=b"x"), 502),
    "empty AMQPLAIN": (start_ok(mechanism="AMQPLAIN", response=b""), 502),
    "tune-ok first": (request(requests.connection_tune_ok, 0, 0, 0), 504),
    "channel first": (request(requests.channel_open, 1), 505),
    "frames of 1,000 bytes": (start_ok() + request(requests.connection_tune_ok, 1, 1_000, 0), 530),
    "frames beyond the offer": (start_ok() + request(requests.connection_tune_ok, 1, 131_073, 0), 530),
    "frames without end": (start_ok() + request(requests.connection_tune_ok, 1, 0, 0), 530),
    "channels beyond the offer": (start_ok() + request(requests.connection_tune_ok, 2_048, 8_192, 0), 530),
    "channels without end": (start_ok() + request(requests.connection_tune_ok, 0, 8_192, 0), 530),
    "no such vhost": (
        start_ok()
        + request(requests.connection_tune_ok, 1, 8_192, 0)
        + request(requests.connection_open, "nowhere"),
        530,
    ),
    "a frame beyond the first limit": (struct.pack(">BHI", 1, 0, 8_193), 501),
}


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("sent", "code"), BEFORE_OPEN.values(), ids=BEFORE_OPEN)
def test_the_handshake_ends(sent: bytes, code: int, step: int) -> None:
    talker = Talker()
    talker.says(PROTOCOL_HEADER + sent, step=step)
    last = talker.heard()[-1]
    assert (last.name, last["reply_code"]) == ("connection.close", code)
    assert talker.connection.state > 4


def test_a_refused_login_is_not_told_to_who_does_not_ask_for_it() -> None:
    talker = Talker()
    talker.says(PROTOCOL_HEADER + start_ok("wrong", capabilities={}))
    assert talker.names() == ["connection.start"]
    assert talker.peer.stopped


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n", b"AMQP\x00\x01\x00\x00", b"AMQP\x01\x01\x00\x0a", b"\x16\x03\x01"]
)
def test_another_protocol_is_answered_with_ours(sent: bytes, step: int) -> None:
    talker = Talker()
    talker.says(sent, step=step)
    assert talker.sent() == PROTOCOL_HEADER
    assert talker.peer.stopped
