"""Frames that no client sends: the code and the text they end the connection with, and what survives."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pika import spec

from .broker import Address
from .raw import (
    HEARTBEAT,
    METHOD,
    Closed,
    RawConnection,
    body_frame,
    frame,
    header_frame,
    method_frame,
    method_payload,
    publish,
    table,
)

PUBLISH = method_frame(1, spec.Basic.Publish(exchange="", routing_key="compat.nobody"))
QOS = method_frame(1, spec.Basic.Qos())
# the fixed arguments of queue.declare before its table: reserved, an empty name, no bits
DECLARE = b"\0\x32\0\x0a" + b"\0\0" + b"\0" + b"\0"


def arguments(class_id: int, method_id: int, payload: bytes = b"") -> bytes:
    return frame(METHOD, 1, struct.pack(">HH", class_id, method_id) + payload)


# (name, what is sent on an open channel 1, reply code, start of the reply text, class and method named)
# Texts end where RabbitMQ begins to print Erlang terms.
ERRORS: list[tuple[str, bytes, int, str, tuple[int, int]]] = [
    (
        "end marker",
        frame(METHOD, 1, method_payload(spec.Basic.Qos()), b"\0"),
        501,
        "FRAME_ERROR - type 1, all octets = ",
        (0, 0),
    ),
    ("unknown frame type", frame(5, 1, b"abc"), 501, "FRAME_ERROR - type 5, all octets = ", (0, 0)),
    (
        "unknown frame type on channel 0",
        frame(5, 0, b"abc"),
        501,
        "FRAME_ERROR - type 5, all octets = ",
        (0, 0),
    ),
    (
        "heartbeat with a payload",
        frame(HEARTBEAT, 0, b"x"),
        501,
        "FRAME_ERROR - type 8, all octets = ",
        (0, 0),
    ),
    (
        "heartbeat on a channel",
        frame(HEARTBEAT, 1, b""),
        505,
        "UNEXPECTED_FRAME - type 8, all octets = ",
        (0, 0),
    ),
    (
        "too large",
        struct.pack(">BHI", METHOD, 1, 200_000),
        501,
        "FRAME_ERROR - type 1, all octets = ",
        (0, 0),
    ),
    ("method of two bytes", frame(METHOD, 1, b"\0\x3c"), 501, "FRAME_ERROR - type 1, all octets = ", (0, 0)),
    (
        "content header on channel 0",
        header_frame(0, 0),
        505,
        "UNEXPECTED_FRAME - type 2, all octets = ",
        (0, 0),
    ),
    (
        "header first",
        header_frame(1, 0),
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        (0, 0),
    ),
    (
        "body first",
        body_frame(1, b"x"),
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        (0, 0),
    ),
    (
        "method instead of header",
        PUBLISH + QOS,
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        (60, 40),
    ),
    (
        "body instead of header",
        PUBLISH + body_frame(1, b"x"),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        (60, 40),
    ),
    (
        "header of another class",
        PUBLISH + header_frame(1, 0, class_id=50),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        (60, 40),
    ),
    (
        "body beyond its size",
        PUBLISH + header_frame(1, 2) + body_frame(1, b"xxx"),
        501,
        "FRAME_ERROR - content body frame exceeds remaining content size",
        (60, 40),
    ),
    (
        "method instead of body",
        PUBLISH + header_frame(1, 2) + QOS,
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        (60, 40),
    ),
    (
        "header instead of body",
        PUBLISH + header_frame(1, 2) + header_frame(1, 2),
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        (60, 40),
    ),
    (
        "body larger than any",
        PUBLISH + header_frame(1, 1 << 40),
        501,
        "FRAME_ERROR - content body size 1099511627776 exceeds maximum allowed size 536870912",
        (60, 40),
    ),
    ("arguments cut short", arguments(50, 10, b"\0\0\x05ab"), 501, "FRAME_ERROR - cannot decode ", (50, 10)),
    (
        "arguments with more behind",
        arguments(20, 10, b"\0zzzz"),
        501,
        "FRAME_ERROR - cannot decode ",
        (20, 10),
    ),
    (
        "table beyond its frame",
        frame(METHOD, 1, DECLARE + b"\0\0\0\x64"),
        501,
        "FRAME_ERROR - cannot decode ",
        (50, 10),
    ),
    (
        "channel that is not open",
        method_frame(2, spec.Basic.Qos()),
        504,
        "CHANNEL_ERROR - expected 'channel.open'",
        (60, 10),
    ),
    (
        "publish on a channel that is not open",
        publish(2, "compat.nobody", b""),
        504,
        "CHANNEL_ERROR - expected 'channel.open'",
        (60, 40),
    ),
    (
        "close of a channel that is not open",
        method_frame(2, spec.Channel.Close(200, "", 0, 0)),
        504,
        "CHANNEL_ERROR - expected 'channel.open'",
        (20, 40),
    ),
    (
        "open channel opened",
        method_frame(1, spec.Channel.Open()),
        504,
        "CHANNEL_ERROR - second 'channel.open' seen",
        (20, 10),
    ),
    (
        "the broker's method",
        method_frame(1, spec.Queue.DeclareOk("q", 0, 0)),
        503,
        "COMMAND_INVALID - unimplemented method",
        (50, 11),
    ),
    (
        "flow-ok unasked",
        method_frame(1, spec.Channel.FlowOk(True)),
        503,
        "COMMAND_INVALID - unimplemented method",
        (20, 21),
    ),
    (
        "the broker's content method",
        method_frame(1, spec.Basic.Deliver("tag", 1, False, "", "k")) + header_frame(1, 0),
        503,
        "COMMAND_INVALID - unimplemented method",
        (60, 60),
    ),
    (
        "connection.close on a channel",
        method_frame(1, spec.Connection.Close(200, "", 0, 0)),
        503,
        "COMMAND_INVALID - unimplemented method",
        (10, 50),
    ),
    (
        "recover-async without requeue",
        arguments(60, 100, b"\0"),
        540,
        "NOT_IMPLEMENTED - requeue=false",
        (60, 100),
    ),
    (
        "no UTF-8 in a name",
        frame(METHOD, 1, b"\0\x32\0\x0a\0\0\x03\xff\xfe\xfd\0\0\0\0\0"),
        501,
        "FRAME_ERROR - ",
        (0, 0),
    ),
]


@pytest.mark.parametrize(
    "sent, code, text, where", [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_ends_the_connection(
    address: Address, sent: bytes, code: int, text: str, where: tuple[int, int]
) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(sent)
        closed = raw.read_method(0)
        assert isinstance(closed, spec.Connection.Close), closed
        assert closed.reply_code == code
        assert closed.reply_text.startswith(text), closed.reply_text
        assert (closed.class_id, closed.method_id) == where


# Where RabbitMQ falls over (541, or no word at all) any hard error will do, as long as the connection ends.
ENDINGS = {
    "unknown class": arguments(99, 10),
    "unknown method": arguments(60, 99),
    "unknown method of connection": frame(METHOD, 0, struct.pack(">HH", 10, 99)),
    "unknown table type": frame(METHOD, 1, DECLARE + table(a=b"?x")),
    "table value beyond its table": frame(METHOD, 1, DECLARE + table(a=b"S\0\0\0\x50x")),
    "properties cut short": PUBLISH + header_frame(1, 0, b"\x80\0\x10a"),
    "property flags without properties": PUBLISH + header_frame(1, 0, b"\xff\xfe"),
    "unknown type in headers": PUBLISH + header_frame(1, 0, b"\x20\0" + table(a=b"?x")),
}


@pytest.mark.parametrize("sent", ENDINGS.values(), ids=ENDINGS)
def test_ends_the_connection_somehow(address: Address, sent: bytes) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(sent)
        try:
            closed = raw.read_method(0)
        except Closed:
            return
        assert isinstance(closed, spec.Connection.Close)
        assert closed.reply_code in (501, 502, 503, 540, 541)


def test_others_do_not_notice(address: Address) -> None:
    with RawConnection(address) as good:
        good.login().open_channel(1)
        for sent in [row[1] for row in ERRORS] + list(ENDINGS.values()):
            with RawConnection(address) as bad:
                bad.login().open_channel(1).send(sent)
        assert isinstance(good.call(1, spec.Basic.Qos()), spec.Basic.QosOk)
        good.close()


def test_frame_size_may_exceed_the_limit_by_the_empty_frame(address: Address) -> None:
    """RabbitMQ forgives clients that count the payload alone (rabbit_reader, FRAME_SIZE_FUDGE)."""
    with RawConnection(address) as raw:
        raw.login(frame_max=8192).open_channel(1)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        body = bytes(8192)
        raw.send(publish(1, queue, body))
        raw.send_method(1, spec.Basic.Consume(queue=queue, consumer_tag="t", no_ack=True))
        assert isinstance(raw.read_method(1), spec.Basic.ConsumeOk)
        assert raw.read_content(1).body == body


def test_frames_come_in_pieces(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        whole = publish(1, queue, b"body") + method_frame(1, spec.Basic.Get(queue=queue))
        for at in range(len(whole)):
            raw.send(whole[at : at + 1])
        assert raw.read_content(1).body == b"body"


def test_contents_of_channels_may_be_interleaved(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).open_channel(2)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        start = spec.Basic.Publish(exchange="", routing_key=queue)
        raw.send(method_frame(1, start) + method_frame(2, start))
        raw.send(header_frame(1, 4) + header_frame(2, 4))
        raw.send(body_frame(1, b"on") + body_frame(2, b"tw") + body_frame(2, b"o!") + body_frame(1, b"e!"))
        bodies: set[bytes] = set()
        while len(bodies) < 2:
            raw.send_method(1, spec.Basic.Get(queue=queue, no_ack=True))
            answer = raw.read_frame()
            if struct.unpack_from(">I", answer.payload)[0] == spec.Basic.GetEmpty.INDEX:
                continue
            raw.read_frame()
            bodies.add(raw.read_frame().payload)
        assert bodies == {b"one!", b"two!"}


def test_empty_body_frames_are_nothing(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        raw.send(method_frame(1, spec.Basic.Publish(exchange="", routing_key=queue)) + header_frame(1, 2))
        raw.send(body_frame(1, b"") + body_frame(1, b"a") + body_frame(1, b"") + body_frame(1, b"b"))
        raw.send_method(1, spec.Basic.Get(queue=queue))
        assert raw.read_content(1).body == b"ab"


def test_bodies_are_cut_to_the_receivers_frame_max(address: Address) -> None:
    """Published in one large frame on channel 1, received on channel 7 of a connection with smaller frames."""
    body = bytes(range(256)) * 400
    properties = b"\x90\x00" + b"\x0atext/plain" + b"\x02"
    with RawConnection(address) as sender, RawConnection(address) as receiver:
        sender.login().open_channel(1)
        receiver.login(frame_max=8192).open_channel(7)
        queue = receiver.call(7, spec.Queue.Declare(auto_delete=True)).queue
        receiver.call(7, spec.Basic.Consume(queue=queue, no_ack=True))
        sender.send(publish(1, queue, body, properties))
        found = receiver.read_content(7)
        assert (found.body, found.properties) == (body, properties)
        assert max(found.frame_sizes) <= 8192


def test_pipelined_requests_are_answered_in_order(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login()
        requests: list[Any] = [
            spec.Channel.Open(),
            spec.Queue.Declare(exclusive=True),
            spec.Basic.Qos(),
            spec.Confirm.Select(),
        ]
        requests += [spec.Basic.Recover(requeue=True), spec.Channel.Close(200, "", 0, 0)]
        raw.send(b"".join(method_frame(1, each) for each in requests))
        answers = [type(raw.read_method(1)) for _ in requests]
        assert [each.NAME for each in answers] == [each.NAME.replace("Ok", "") + "Ok" for each in requests]


def test_nowait_gets_no_answer(address: Address) -> None:
    name = "compat.nowait"
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        for method in (
            spec.Queue.Declare(queue=name, exclusive=True, nowait=True),
            spec.Exchange.Declare(exchange=name, auto_delete=True, nowait=True),
            spec.Queue.Bind(queue=name, exchange=name, nowait=True),
            spec.Exchange.Bind(destination=name, source="amq.direct", nowait=True),
            spec.Exchange.Unbind(destination=name, source="amq.direct", nowait=True),
            spec.Confirm.Select(nowait=True),
            spec.Queue.Purge(queue=name, nowait=True),
            spec.Basic.Consume(queue=name, consumer_tag="t", nowait=True),
            spec.Basic.Cancel(consumer_tag="t", nowait=True),
            spec.Exchange.Delete(exchange=name, nowait=True),
            spec.Queue.Delete(queue=name, nowait=True),
        ):
            raw.send_method(1, method)
        assert isinstance(raw.call(1, spec.Basic.Qos()), spec.Basic.QosOk)


def test_while_a_channel_closes_its_frames_are_dropped(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        closed = raw.call(1, spec.Queue.Declare(queue="compat.missing", passive=True))
        assert (closed.reply_code, closed.class_id, closed.method_id) == (404, 50, 10)
        raw.send(QOS + publish(1, "compat.missing", b"x"))
        raw.send_method(1, spec.Channel.CloseOk())
        raw.open_channel(1)


def test_both_sides_close_a_channel_at_once(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        assert isinstance(raw.call(1, spec.Basic.Ack(delivery_tag=5)), spec.Channel.Close)
        assert isinstance(raw.call(1, spec.Channel.Close(200, "", 0, 0)), spec.Channel.CloseOk)
        raw.send_method(1, spec.Channel.CloseOk())
        raw.open_channel(1)


def test_a_channel_error_spares_the_other_channels(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).open_channel(2)
        assert isinstance(raw.call(1, spec.Basic.Ack(delivery_tag=5)), spec.Channel.Close)
        assert isinstance(raw.call(2, spec.Basic.Qos()), spec.Basic.QosOk)


def test_access_request_of_0_8_clients(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(arguments(30, 10, b"\x05/data\x1f"))
        assert raw.read_method(1).ticket == 1


def test_recover_async_has_no_answer(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(arguments(60, 100, b"\x01"))
        assert isinstance(raw.call(1, spec.Basic.Qos()), spec.Basic.QosOk)


def test_message_beyond_the_largest(address: Address) -> None:
    """RabbitMQ 4's max_message_size is 16 MiB; the whole content is read before it is refused."""
    size = 16 * 1024 * 1024 + 1
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.send(
            method_frame(1, spec.Basic.Publish(exchange="", routing_key="compat.nobody"))
            + header_frame(1, size)
        )
        for at in range(0, size, 131_064):
            raw.send(body_frame(1, bytes(min(131_064, size - at))))
        closed = raw.read_method(1)
        text = f"PRECONDITION_FAILED - message size {size} is larger than configured max size {size - 1}"
        assert (closed.reply_code, closed.reply_text) == (406, text)
