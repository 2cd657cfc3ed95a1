"""The methods of AMQP 0-9-1 by number, and the frames a server sends (specification, section 1; RabbitMQ's extensions).

A method's number is `(class << 16) | method`, the 32 bits a method frame's payload begins with. The functions
below each append one whole frame to `out`: those that servers send and those that both sides send (close, flow,
ack, cancel, ...). What only clients send is in requests.py; reading is in signatures.py.

`route` is exchange and routing key as two short strings, as a message carries them; `table` is an encoded field
table, its length included. Numbers and texts that do not fit their fields raise `ValueError`. Nothing here
knows what a method means.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i32_be

from leveret.native import i32, i64
from leveret.wire.buffer import (
    pack_bits,
    patch_long,
    put_long,
    put_longlong,
    put_longstr,
    put_octet,
    put_reply_text,
    put_short,
    put_shortstr,
)
from leveret.wire.frames import FRAME_END, FRAME_METHOD, open_frame

CONNECTION_START: Final = (10 << 16) | 10
CONNECTION_START_OK: Final = (10 << 16) | 11
CONNECTION_SECURE: Final = (10 << 16) | 20
CONNECTION_SECURE_OK: Final = (10 << 16) | 21
CONNECTION_TUNE: Final = (10 << 16) | 30
CONNECTION_TUNE_OK: Final = (10 << 16) | 31
CONNECTION_OPEN: Final = (10 << 16) | 40
CONNECTION_OPEN_OK: Final = (10 << 16) | 41
CONNECTION_CLOSE: Final = (10 << 16) | 50
CONNECTION_CLOSE_OK: Final = (10 << 16) | 51
CONNECTION_BLOCKED: Final = (10 << 16) | 60
CONNECTION_UNBLOCKED: Final = (10 << 16) | 61
CONNECTION_UPDATE_SECRET: Final = (10 << 16) | 70
CONNECTION_UPDATE_SECRET_OK: Final = (10 << 16) | 71

CHANNEL_OPEN: Final = (20 << 16) | 10
CHANNEL_OPEN_OK: Final = (20 << 16) | 11
CHANNEL_FLOW: Final = (20 << 16) | 20
CHANNEL_FLOW_OK: Final = (20 << 16) | 21
CHANNEL_CLOSE: Final = (20 << 16) | 40
CHANNEL_CLOSE_OK: Final = (20 << 16) | 41

ACCESS_REQUEST: Final = (30 << 16) | 10
ACCESS_REQUEST_OK: Final = (30 << 16) | 11

EXCHANGE_DECLARE: Final = (40 << 16) | 10
EXCHANGE_DECLARE_OK: Final = (40 << 16) | 11
EXCHANGE_DELETE: Final = (40 << 16) | 20
EXCHANGE_DELETE_OK: Final = (40 << 16) | 21
EXCHANGE_BIND: Final = (40 << 16) | 30
EXCHANGE_BIND_OK: Final = (40 << 16) | 31
EXCHANGE_UNBIND: Final = (40 << 16) | 40
EXCHANGE_UNBIND_OK: Final = (40 << 16) | 51

QUEUE_DECLARE: Final = (50 << 16) | 10
QUEUE_DECLARE_OK: Final = (50 << 16) | 11
QUEUE_BIND: Final = (50 << 16) | 20
QUEUE_BIND_OK: Final = (50 << 16) | 21
QUEUE_PURGE: Final = (50 << 16) | 30
QUEUE_PURGE_OK: Final = (50 << 16) | 31
QUEUE_DELETE: Final = (50 << 16) | 40
QUEUE_DELETE_OK: Final = (50 << 16) | 41
QUEUE_UNBIND: Final = (50 << 16) | 50
QUEUE_UNBIND_OK: Final = (50 << 16) | 51

BASIC_QOS: Final = (60 << 16) | 10
BASIC_QOS_OK: Final = (60 << 16) | 11
BASIC_CONSUME: Final = (60 << 16) | 20
BASIC_CONSUME_OK: Final = (60 << 16) | 21
BASIC_CANCEL: Final = (60 << 16) | 30
BASIC_CANCEL_OK: Final = (60 << 16) | 31
BASIC_PUBLISH: Final = (60 << 16) | 40
BASIC_RETURN: Final = (60 << 16) | 50
BASIC_DELIVER: Final = (60 << 16) | 60
BASIC_GET: Final = (60 << 16) | 70
BASIC_GET_OK: Final = (60 << 16) | 71
BASIC_GET_EMPTY: Final = (60 << 16) | 72
BASIC_ACK: Final = (60 << 16) | 80
BASIC_REJECT: Final = (60 << 16) | 90
BASIC_RECOVER_ASYNC: Final = (60 << 16) | 100
BASIC_RECOVER: Final = (60 << 16) | 110
BASIC_RECOVER_OK: Final = (60 << 16) | 111
BASIC_NACK: Final = (60 << 16) | 120

CONFIRM_SELECT: Final = (85 << 16) | 10
CONFIRM_SELECT_OK: Final = (85 << 16) | 11

TX_SELECT: Final = (90 << 16) | 10
TX_SELECT_OK: Final = (90 << 16) | 11
TX_COMMIT: Final = (90 << 16) | 20
TX_COMMIT_OK: Final = (90 << 16) | 21
TX_ROLLBACK: Final = (90 << 16) | 30
TX_ROLLBACK_OK: Final = (90 << 16) | 31

NAMES: Final[dict[int, str]] = {
    CONNECTION_START: "connection.start",
    CONNECTION_START_OK: "connection.start_ok",
    CONNECTION_SECURE: "connection.secure",
    CONNECTION_SECURE_OK: "connection.secure_ok",
    CONNECTION_TUNE: "connection.tune",
    CONNECTION_TUNE_OK: "connection.tune_ok",
    CONNECTION_OPEN: "connection.open",
    CONNECTION_OPEN_OK: "connection.open_ok",
    CONNECTION_CLOSE: "connection.close",
    CONNECTION_CLOSE_OK: "connection.close_ok",
    CONNECTION_BLOCKED: "connection.blocked",
    CONNECTION_UNBLOCKED: "connection.unblocked",
    CONNECTION_UPDATE_SECRET: "connection.update_secret",
    CONNECTION_UPDATE_SECRET_OK: "connection.update_secret_ok",
    CHANNEL_OPEN: "channel.open",
    CHANNEL_OPEN_OK: "channel.open_ok",
    CHANNEL_FLOW: "channel.flow",
    CHANNEL_FLOW_OK: "channel.flow_ok",
    CHANNEL_CLOSE: "channel.close",
    CHANNEL_CLOSE_OK: "channel.close_ok",
    ACCESS_REQUEST: "access.request",
    ACCESS_REQUEST_OK: "access.request_ok",
    EXCHANGE_DECLARE: "exchange.declare",
    EXCHANGE_DECLARE_OK: "exchange.declare_ok",
    EXCHANGE_DELETE: "exchange.delete",
    EXCHANGE_DELETE_OK: "exchange.delete_ok",
    EXCHANGE_BIND: "exchange.bind",
    EXCHANGE_BIND_OK: "exchange.bind_ok",
    EXCHANGE_UNBIND: "exchange.unbind",
    EXCHANGE_UNBIND_OK: "exchange.unbind_ok",
    QUEUE_DECLARE: "queue.declare",
    QUEUE_DECLARE_OK: "queue.declare_ok",
    QUEUE_BIND: "queue.bind",
    QUEUE_BIND_OK: "queue.bind_ok",
    QUEUE_PURGE: "queue.purge",
    QUEUE_PURGE_OK: "queue.purge_ok",
    QUEUE_DELETE: "queue.delete",
    QUEUE_DELETE_OK: "queue.delete_ok",
    QUEUE_UNBIND: "queue.unbind",
    QUEUE_UNBIND_OK: "queue.unbind_ok",
    BASIC_QOS: "basic.qos",
    BASIC_QOS_OK: "basic.qos_ok",
    BASIC_CONSUME: "basic.consume",
    BASIC_CONSUME_OK: "basic.consume_ok",
    BASIC_CANCEL: "basic.cancel",
    BASIC_CANCEL_OK: "basic.cancel_ok",
    BASIC_PUBLISH: "basic.publish",
    BASIC_RETURN: "basic.return",
    BASIC_DELIVER: "basic.deliver",
    BASIC_GET: "basic.get",
    BASIC_GET_OK: "basic.get_ok",
    BASIC_GET_EMPTY: "basic.get_empty",
    BASIC_ACK: "basic.ack",
    BASIC_REJECT: "basic.reject",
    BASIC_RECOVER_ASYNC: "basic.recover_async",
    BASIC_RECOVER: "basic.recover",
    BASIC_RECOVER_OK: "basic.recover_ok",
    BASIC_NACK: "basic.nack",
    CONFIRM_SELECT: "confirm.select",
    CONFIRM_SELECT_OK: "confirm.select_ok",
    TX_SELECT: "tx.select",
    TX_SELECT_OK: "tx.select_ok",
    TX_COMMIT: "tx.commit",
    TX_COMMIT_OK: "tx.commit_ok",
    TX_ROLLBACK: "tx.rollback",
    TX_ROLLBACK_OK: "tx.rollback_ok",
}


def method_name(method: i64) -> str:
    """As RabbitMQ writes it in errors, 'queue.declare_ok'; empty for a number it does not know."""
    return NAMES.get(int(method), "")


def carries_content(method: i64) -> bool:
    """Whether a content header and bodies follow."""
    return (
        method == BASIC_PUBLISH or method == BASIC_DELIVER or method == BASIC_RETURN or method == BASIC_GET_OK
    )


# frames


def open_method(out: BytesWriter, channel: i64, method: i64) -> i64:
    """Begins a method frame whose size is not known yet. The answer is for `close_method`."""
    at = i64(len(out))
    open_frame(out, FRAME_METHOD, channel, 0)
    write_i32_be(out, i32(method))
    return at


def close_method(out: BytesWriter, at: i64) -> None:
    patch_long(out, at + 3, i64(len(out)) - at - 7)
    out.append(FRAME_END)


def empty_method(out: BytesWriter, channel: i64, method: i64) -> None:
    """A method without arguments."""
    open_frame(out, FRAME_METHOD, channel, 4)
    write_i32_be(out, i32(method))
    out.append(FRAME_END)


# connection (class 10): always on channel 0


def connection_start(
    out: BytesWriter, major: i64, minor: i64, server_properties: bytes, mechanisms: bytes, locales: bytes
) -> None:
    at = open_method(out, 0, CONNECTION_START)
    put_octet(out, major)
    put_octet(out, minor)
    out.write(server_properties)
    put_longstr(out, mechanisms)
    put_longstr(out, locales)
    close_method(out, at)


def connection_secure(out: BytesWriter, challenge: bytes) -> None:
    at = open_method(out, 0, CONNECTION_SECURE)
    put_longstr(out, challenge)
    close_method(out, at)


def connection_tune(out: BytesWriter, channel_max: i64, frame_max_bytes: i64, heartbeat_s: i64) -> None:
    tuning(out, CONNECTION_TUNE, channel_max, frame_max_bytes, heartbeat_s)


def tuning(out: BytesWriter, method: i64, channel_max: i64, frame_max_bytes: i64, heartbeat_s: i64) -> None:
    """connection.tune and tune-ok, which have the same fields."""
    at = open_method(out, 0, method)
    put_short(out, channel_max)
    put_long(out, frame_max_bytes)
    put_short(out, heartbeat_s)
    close_method(out, at)


def connection_open_ok(out: BytesWriter) -> None:
    at = open_method(out, 0, CONNECTION_OPEN_OK)
    put_shortstr(out, "")  # known-hosts, reserved
    close_method(out, at)


def connection_close(out: BytesWriter, code: i64, text: str, class_id: i64, method_id: i64) -> None:
    _closing(out, 0, CONNECTION_CLOSE, code, text, class_id, method_id)


def _closing(
    out: BytesWriter, channel: i64, method: i64, code: i64, text: str, class_id: i64, method_id: i64
) -> None:
    at = open_method(out, channel, method)
    put_short(out, code)
    put_reply_text(out, text)
    put_short(out, class_id)
    put_short(out, method_id)
    close_method(out, at)


def connection_close_ok(out: BytesWriter) -> None:
    empty_method(out, 0, CONNECTION_CLOSE_OK)


def connection_blocked(out: BytesWriter, reason: str) -> None:
    at = open_method(out, 0, CONNECTION_BLOCKED)
    put_reply_text(out, reason)
    close_method(out, at)


def connection_unblocked(out: BytesWriter) -> None:
    empty_method(out, 0, CONNECTION_UNBLOCKED)


def connection_update_secret_ok(out: BytesWriter) -> None:
    empty_method(out, 0, CONNECTION_UPDATE_SECRET_OK)


# channel (20), access (30)


def channel_open_ok(out: BytesWriter, channel: i64) -> None:
    at = open_method(out, channel, CHANNEL_OPEN_OK)
    put_longstr(out, b"")  # channel-id, reserved
    close_method(out, at)


def channel_flow(out: BytesWriter, channel: i64, active: bool) -> None:
    one_bit(out, channel, CHANNEL_FLOW, active)


def channel_flow_ok(out: BytesWriter, channel: i64, active: bool) -> None:
    one_bit(out, channel, CHANNEL_FLOW_OK, active)


def one_bit(out: BytesWriter, channel: i64, method: i64, bit: bool) -> None:
    at = open_method(out, channel, method)
    out.append(1 if bit else 0)
    close_method(out, at)


def channel_close(
    out: BytesWriter, channel: i64, code: i64, text: str, class_id: i64, method_id: i64
) -> None:
    _closing(out, channel, CHANNEL_CLOSE, code, text, class_id, method_id)


def channel_close_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, CHANNEL_CLOSE_OK)


def access_request_ok(out: BytesWriter, channel: i64, ticket: i64) -> None:
    at = open_method(out, channel, ACCESS_REQUEST_OK)
    put_short(out, ticket)
    close_method(out, at)


# exchange (40)


def exchange_declare_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, EXCHANGE_DECLARE_OK)


def exchange_delete_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, EXCHANGE_DELETE_OK)


def exchange_bind_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, EXCHANGE_BIND_OK)


def exchange_unbind_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, EXCHANGE_UNBIND_OK)


# queue (50)


def queue_declare_ok(out: BytesWriter, channel: i64, name: str, messages: i64, consumers: i64) -> None:
    at = open_method(out, channel, QUEUE_DECLARE_OK)
    put_shortstr(out, name)
    put_long(out, messages)
    put_long(out, consumers)
    close_method(out, at)


def queue_bind_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, QUEUE_BIND_OK)


def queue_unbind_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, QUEUE_UNBIND_OK)


def queue_purge_ok(out: BytesWriter, channel: i64, messages: i64) -> None:
    _count(out, channel, QUEUE_PURGE_OK, messages)


def queue_delete_ok(out: BytesWriter, channel: i64, messages: i64) -> None:
    _count(out, channel, QUEUE_DELETE_OK, messages)


def _count(out: BytesWriter, channel: i64, method: i64, messages: i64) -> None:
    at = open_method(out, channel, method)
    put_long(out, messages)
    close_method(out, at)


# basic (60)


def basic_qos_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, BASIC_QOS_OK)


def basic_consume_ok(out: BytesWriter, channel: i64, consumer_tag: str) -> None:
    _tag(out, channel, BASIC_CONSUME_OK, consumer_tag)


def basic_cancel(out: BytesWriter, channel: i64, consumer_tag: str, no_wait: bool) -> None:
    """From both sides: a server tells a consumer so that its queue has gone."""
    at = open_method(out, channel, BASIC_CANCEL)
    put_shortstr(out, consumer_tag)
    out.append(1 if no_wait else 0)
    close_method(out, at)


def basic_cancel_ok(out: BytesWriter, channel: i64, consumer_tag: str) -> None:
    _tag(out, channel, BASIC_CANCEL_OK, consumer_tag)


def _tag(out: BytesWriter, channel: i64, method: i64, consumer_tag: str) -> None:
    at = open_method(out, channel, method)
    put_shortstr(out, consumer_tag)
    close_method(out, at)


def route_bytes(exchange: str, routing_key: str) -> bytes:
    """Exchange and routing key as two short strings."""
    out = BytesWriter()
    put_shortstr(out, exchange)
    put_shortstr(out, routing_key)
    return out.getvalue()


def basic_return_raw(out: BytesWriter, channel: i64, code: i64, text: str, route: bytes) -> None:
    """Content follows."""
    at = open_method(out, channel, BASIC_RETURN)
    put_short(out, code)
    put_reply_text(out, text)
    out.write(route)
    close_method(out, at)


def basic_deliver_raw(
    out: BytesWriter, channel: i64, consumer_tag: str, delivery_tag: int, redelivered: bool, route: bytes
) -> None:
    """Content follows."""
    at = open_method(out, channel, BASIC_DELIVER)
    put_shortstr(out, consumer_tag)
    put_longlong(out, delivery_tag)
    out.append(1 if redelivered else 0)
    out.write(route)
    close_method(out, at)


def basic_get_ok_raw(
    out: BytesWriter, channel: i64, delivery_tag: int, redelivered: bool, route: bytes, messages: i64
) -> None:
    """Content follows. `messages` are those still in the queue."""
    at = open_method(out, channel, BASIC_GET_OK)
    put_longlong(out, delivery_tag)
    out.append(1 if redelivered else 0)
    out.write(route)
    put_long(out, messages)
    close_method(out, at)


def basic_get_empty(out: BytesWriter, channel: i64) -> None:
    at = open_method(out, channel, BASIC_GET_EMPTY)
    put_shortstr(out, "")  # cluster-id, reserved
    close_method(out, at)


def basic_ack(out: BytesWriter, channel: i64, delivery_tag: int, multiple: bool) -> None:
    """A consumer's acknowledgement; from a server, a confirm."""
    settling(out, channel, BASIC_ACK, delivery_tag, pack_bits(multiple))


def basic_nack(
    out: BytesWriter, channel: i64, delivery_tag: int, multiple: bool, requeue: bool = False
) -> None:
    settling(out, channel, BASIC_NACK, delivery_tag, pack_bits(multiple, requeue))


def settling(out: BytesWriter, channel: i64, method: i64, delivery_tag: int, bits: i64) -> None:
    """ack, nack and reject: a delivery tag and an octet of bits."""
    at = open_method(out, channel, method)
    put_longlong(out, delivery_tag)
    put_octet(out, bits)
    close_method(out, at)


def basic_recover_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, BASIC_RECOVER_OK)


# confirm (85), tx (90)


def confirm_select_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, CONFIRM_SELECT_OK)


def tx_select_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, TX_SELECT_OK)


def tx_commit_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, TX_COMMIT_OK)


def tx_rollback_ok(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, TX_ROLLBACK_OK)
