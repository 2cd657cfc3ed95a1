"""The frames that only clients send (AMQP 0-9-1, section 1; RabbitMQ's extensions): methods.py from the other side.

Each function appends one whole method frame to `out`. `table` and `arguments` are encoded field tables, their
length included. The access ticket that many of them begin with is 0, as it has no meaning since 0-9-1.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from leveret.native import i64
from leveret.wire import methods
from leveret.wire.buffer import pack_bits, put_long, put_longstr, put_octet, put_short, put_shortstr
from leveret.wire.methods import close_method, empty_method, open_method

NO_ARGUMENTS: Final = b"\0\0\0\0"


# connection


def connection_start_ok(
    out: BytesWriter, client_properties: bytes, mechanism: str, response: bytes, locale: str
) -> None:
    at = open_method(out, 0, methods.CONNECTION_START_OK)
    out.write(client_properties)
    put_shortstr(out, mechanism)
    put_longstr(out, response)
    put_shortstr(out, locale)
    close_method(out, at)


def connection_secure_ok(out: BytesWriter, response: bytes) -> None:
    at = open_method(out, 0, methods.CONNECTION_SECURE_OK)
    put_longstr(out, response)
    close_method(out, at)


def connection_tune_ok(out: BytesWriter, channel_max: i64, frame_max_bytes: i64, heartbeat_s: i64) -> None:
    methods.tuning(out, methods.CONNECTION_TUNE_OK, channel_max, frame_max_bytes, heartbeat_s)


def connection_open(out: BytesWriter, virtual_host: str) -> None:
    at = open_method(out, 0, methods.CONNECTION_OPEN)
    put_shortstr(out, virtual_host)
    put_shortstr(out, "")  # capabilities, reserved
    put_octet(out, 0)  # insist, reserved
    close_method(out, at)


def connection_update_secret(out: BytesWriter, new_secret: bytes, reason: str) -> None:
    at = open_method(out, 0, methods.CONNECTION_UPDATE_SECRET)
    put_longstr(out, new_secret)
    put_shortstr(out, reason)
    close_method(out, at)


# channel, access


def channel_open(out: BytesWriter, channel: i64) -> None:
    at = open_method(out, channel, methods.CHANNEL_OPEN)
    put_shortstr(out, "")  # out-of-band, reserved
    close_method(out, at)


def access_request(
    out: BytesWriter,
    channel: i64,
    realm: str,
    exclusive: bool = False,
    passive: bool = True,
    active: bool = True,
    write: bool = True,
    read: bool = True,
) -> None:
    at = open_method(out, channel, methods.ACCESS_REQUEST)
    put_shortstr(out, realm)
    put_octet(out, pack_bits(exclusive, passive, active, write, read))
    close_method(out, at)


# exchange


def exchange_declare(
    out: BytesWriter,
    channel: i64,
    name: str,
    kind: str,
    passive: bool = False,
    durable: bool = False,
    auto_delete: bool = False,
    internal: bool = False,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    at = _named(out, channel, methods.EXCHANGE_DECLARE, name)
    put_shortstr(out, kind)
    put_octet(out, pack_bits(passive, durable, auto_delete, internal, no_wait))
    out.write(arguments)
    close_method(out, at)


def exchange_delete(
    out: BytesWriter, channel: i64, name: str, if_unused: bool = False, no_wait: bool = False
) -> None:
    at = _named(out, channel, methods.EXCHANGE_DELETE, name)
    put_octet(out, pack_bits(if_unused, no_wait))
    close_method(out, at)


def exchange_bind(
    out: BytesWriter,
    channel: i64,
    destination: str,
    source: str,
    routing_key: str,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    _binding(out, channel, methods.EXCHANGE_BIND, destination, source, routing_key, no_wait, arguments)


def exchange_unbind(
    out: BytesWriter,
    channel: i64,
    destination: str,
    source: str,
    routing_key: str,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    _binding(out, channel, methods.EXCHANGE_UNBIND, destination, source, routing_key, no_wait, arguments)


# queue


def queue_declare(
    out: BytesWriter,
    channel: i64,
    name: str,
    passive: bool = False,
    durable: bool = False,
    exclusive: bool = False,
    auto_delete: bool = False,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    at = _named(out, channel, methods.QUEUE_DECLARE, name)
    put_octet(out, pack_bits(passive, durable, exclusive, auto_delete, no_wait))
    out.write(arguments)
    close_method(out, at)


def queue_bind(
    out: BytesWriter,
    channel: i64,
    queue: str,
    exchange: str,
    routing_key: str,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    _binding(out, channel, methods.QUEUE_BIND, queue, exchange, routing_key, no_wait, arguments)


def queue_unbind(
    out: BytesWriter,
    channel: i64,
    queue: str,
    exchange: str,
    routing_key: str,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    """The one binding method that has no no-wait."""
    at = _named(out, channel, methods.QUEUE_UNBIND, queue)
    put_shortstr(out, exchange)
    put_shortstr(out, routing_key)
    out.write(arguments)
    close_method(out, at)


def queue_purge(out: BytesWriter, channel: i64, name: str, no_wait: bool = False) -> None:
    at = _named(out, channel, methods.QUEUE_PURGE, name)
    put_octet(out, pack_bits(no_wait))
    close_method(out, at)


def queue_delete(
    out: BytesWriter,
    channel: i64,
    name: str,
    if_unused: bool = False,
    if_empty: bool = False,
    no_wait: bool = False,
) -> None:
    at = _named(out, channel, methods.QUEUE_DELETE, name)
    put_octet(out, pack_bits(if_unused, if_empty, no_wait))
    close_method(out, at)


def _named(out: BytesWriter, channel: i64, method: i64, name: str) -> i64:
    """The beginning of most methods: the ticket, and the name of what it is about."""
    at = open_method(out, channel, method)
    put_short(out, 0)
    put_shortstr(out, name)
    return at


def _binding(
    out: BytesWriter,
    channel: i64,
    method: i64,
    destination: str,
    source: str,
    routing_key: str,
    no_wait: bool,
    arguments: bytes,
) -> None:
    at = _named(out, channel, method, destination)
    put_shortstr(out, source)
    put_shortstr(out, routing_key)
    put_octet(out, pack_bits(no_wait))
    out.write(arguments)
    close_method(out, at)


# basic


def basic_qos(
    out: BytesWriter, channel: i64, prefetch_count: i64, for_all: bool = False, prefetch_size_bytes: i64 = 0
) -> None:
    """`for_all` is the bit `global`."""
    at = open_method(out, channel, methods.BASIC_QOS)
    put_long(out, prefetch_size_bytes)
    put_short(out, prefetch_count)
    put_octet(out, pack_bits(for_all))
    close_method(out, at)


def basic_consume(
    out: BytesWriter,
    channel: i64,
    queue: str,
    consumer_tag: str,
    no_local: bool = False,
    no_ack: bool = False,
    exclusive: bool = False,
    no_wait: bool = False,
    arguments: bytes = NO_ARGUMENTS,
) -> None:
    at = _named(out, channel, methods.BASIC_CONSUME, queue)
    put_shortstr(out, consumer_tag)
    put_octet(out, pack_bits(no_local, no_ack, exclusive, no_wait))
    out.write(arguments)
    close_method(out, at)


def basic_publish_raw(
    out: BytesWriter, channel: i64, route: bytes, mandatory: bool = False, immediate: bool = False
) -> None:
    """Content follows. `route` is made by `methods.route_bytes`, once for many messages."""
    at = open_method(out, channel, methods.BASIC_PUBLISH)
    put_short(out, 0)
    out.write(route)
    put_octet(out, pack_bits(mandatory, immediate))
    close_method(out, at)


def basic_get(out: BytesWriter, channel: i64, queue: str, no_ack: bool = False) -> None:
    at = _named(out, channel, methods.BASIC_GET, queue)
    put_octet(out, pack_bits(no_ack))
    close_method(out, at)


def basic_reject(out: BytesWriter, channel: i64, delivery_tag: int, requeue: bool) -> None:
    methods.settling(out, channel, methods.BASIC_REJECT, delivery_tag, pack_bits(requeue))


def basic_recover_async(out: BytesWriter, channel: i64, requeue: bool) -> None:
    methods.one_bit(out, channel, methods.BASIC_RECOVER_ASYNC, requeue)


def basic_recover(out: BytesWriter, channel: i64, requeue: bool) -> None:
    methods.one_bit(out, channel, methods.BASIC_RECOVER, requeue)


# confirm, tx


def confirm_select(out: BytesWriter, channel: i64, no_wait: bool = False) -> None:
    methods.one_bit(out, channel, methods.CONFIRM_SELECT, no_wait)


def tx_select(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, methods.TX_SELECT)


def tx_commit(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, methods.TX_COMMIT)


def tx_rollback(out: BytesWriter, channel: i64) -> None:
    empty_method(out, channel, methods.TX_ROLLBACK)
