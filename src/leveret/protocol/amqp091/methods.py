"""What the methods of a channel do: arguments read from the frame, a command to the virtual host, the reply.

One function for each method, found by number. Errors are raised with RabbitMQ's words; who raises decides whether
the channel or the connection ends (errors.py). The order of fields is the specification's (AMQP 0-9-1, XML).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter

from leveret.core.arguments import check_consumer
from leveret.core.consumer import Consumer
from leveret.core.destination import named
from leveret.core.replies import PSEUDO_QUEUE
from leveret.core.serving import check_may_get
from leveret.core.vhost import VHost
from leveret.errors import (
    ChannelError,
    CommandInvalid,
    NotAllowed,
    NotSupported,
    PeerError,
    PreconditionFailed,
)
from leveret.message import DISCARDED, MODIFIED, REJECTED, RELEASED
from leveret.native import i64
from leveret.protocol.amqp091 import reply_to
from leveret.protocol.amqp091.confirms import Confirms
from leveret.protocol.amqp091.consumer import AmqpConsumer, AmqpGetter
from leveret.protocol.amqp091.content import at_method
from leveret.protocol.amqp091.tx import ChannelTransaction
from leveret.wire import methods as wire
from leveret.wire.buffer import Reader
from leveret.wire.signatures import check_method
from leveret.wire.table import read_table

if TYPE_CHECKING:
    from leveret.protocol.amqp091.channel import AmqpChannel

Handler = Callable[["AmqpChannel", Reader], None]


def dispatch(channel: AmqpChannel, method: i64, frame: bytes) -> None:
    """Do what a method frame says. A channel error closes the channel here, naming the method."""
    handler = HANDLERS.get(int(method))
    if handler is None:
        refuse(method)
        return
    check_method(frame, 11, i64(len(frame)) - 1, method)
    try:
        handler(channel, Reader(frame, 11, len(frame) - 1))
    except PeerError as error:
        error.method = int(method)
        if error.hard:
            raise
        channel.fail(error)


def refuse(method: i64) -> None:
    """A method that nobody knows, or that is the broker's or channel 0's alone."""
    if wire.method_name(method) == "":
        raise unknown(method)
    raise at_method(CommandInvalid("unimplemented method"), method)


def unknown(method: i64) -> CommandInvalid:
    """RabbitMQ falls over here (541); this is the specification's code for it."""
    return CommandInvalid(f"unknown method {{{int(method) >> 16},{int(method) & 0xFFFF}}}")


def while_closing(channel: AmqpChannel, method: i64) -> None:
    """channel.close was sent: only the close handshake is heard."""
    if method == wire.CHANNEL_CLOSE_OK:
        channel.peer.connection.forget_channel(channel)
    elif method == wire.CHANNEL_CLOSE:
        wire.channel_close_ok(channel.peer.out, channel.number)
        channel.peer.touch()


def vhost_of(channel: AmqpChannel) -> VHost:
    vhost = channel.peer.vhost
    assert vhost is not None
    return vhost


def answer(channel: AmqpChannel, reply: BytesWriter, no_wait: bool) -> None:
    """Reply once what the command changed is on disk; with no-wait, do not."""
    position = vhost_of(channel).position
    frame = b"" if no_wait else reply.getvalue()
    if no_wait:
        return
    channel.reply_when(position, frame)


# ---- channel


def channel_open(channel: AmqpChannel, r: Reader) -> None:
    raise ChannelError("second 'channel.open' seen")


def channel_flow(channel: AmqpChannel, r: Reader) -> None:
    if r.octet() & 1 == 0:
        raise NotSupported("active=false")
    wire.channel_flow_ok(channel.peer.out, channel.number, True)
    channel.peer.touch()


def channel_close(channel: AmqpChannel, r: Reader) -> None:
    channel.end()
    wire.channel_close_ok(channel.peer.out, channel.number)
    channel.peer.touch()
    channel.peer.connection.forget_channel(channel)


def channel_close_ok(channel: AmqpChannel, r: Reader) -> None:
    """Nobody sent a close: RabbitMQ's channel takes it for an unknown command."""
    raise CommandInvalid("unimplemented method")


def access_request(channel: AmqpChannel, r: Reader) -> None:
    wire.access_request_ok(channel.peer.out, channel.number, 1)
    channel.peer.touch()


# ---- exchange


def exchange_declare(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = clean(r.shortstr())
    kind = r.shortstr()
    bits = r.octet()  # passive, durable, auto-delete, internal, no-wait
    args = read_table(r)
    vhost = vhost_of(channel)
    vhost.declare_exchange(name, kind, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0, args, bits & 1 != 0)
    out = BytesWriter()
    wire.exchange_declare_ok(out, channel.number)
    answer(channel, out, bits & 16 != 0)


def exchange_delete(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = clean(r.shortstr())
    bits = r.octet()  # if-unused, no-wait
    vhost_of(channel).delete_exchange(name, bits & 1 != 0)
    out = BytesWriter()
    wire.exchange_delete_ok(out, channel.number)
    answer(channel, out, bits & 2 != 0)


def exchange_bind(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    destination = clean(r.shortstr())
    source = clean(r.shortstr())
    key = r.shortstr()
    no_wait = r.octet() & 1 != 0
    vhost_of(channel).bind_exchange(destination, source, key, read_table(r))
    out = BytesWriter()
    wire.exchange_bind_ok(out, channel.number)
    answer(channel, out, no_wait)


def exchange_unbind(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    destination = clean(r.shortstr())
    source = clean(r.shortstr())
    key = r.shortstr()
    no_wait = r.octet() & 1 != 0
    vhost_of(channel).unbind_exchange(destination, source, key, read_table(r))
    out = BytesWriter()
    wire.exchange_unbind_ok(out, channel.number)
    answer(channel, out, no_wait)


# ---- queue


def queue_declare(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = clean(r.shortstr())
    bits = r.octet()  # passive, durable, exclusive, auto-delete, no-wait
    args = read_table(r)
    vhost = vhost_of(channel)
    out = BytesWriter()
    if reply_to.check_declare(vhost, name):
        channel.last_queue = name
        vhost.position = 0
        wire.queue_declare_ok(out, channel.number, name, 0, 1)
        answer(channel, out, bits & 16 != 0)
        return
    owner = channel.peer.connection
    queue = vhost.declare_queue(name, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0, args, bits & 1 != 0, owner)
    channel.last_queue = queue.name
    wire.queue_declare_ok(out, channel.number, queue.name, queue.ready_count(), queue.consumer_count())
    answer(channel, out, bits & 16 != 0)


def queue_bind(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    raw_name = clean(r.shortstr())
    exchange = clean(r.shortstr())
    key = r.shortstr()
    no_wait = r.octet() & 1 != 0
    args = read_table(r)
    name = channel.queue_of(raw_name)
    if not raw_name and not key:
        key = name
    reply_to.check_bind(name)
    vhost_of(channel).bind_queue(name, exchange, key, args, channel.peer.connection)
    out = BytesWriter()
    wire.queue_bind_ok(out, channel.number)
    answer(channel, out, no_wait)


def queue_unbind(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    raw_name = clean(r.shortstr())
    exchange = clean(r.shortstr())
    key = r.shortstr()
    args = read_table(r)
    name = channel.queue_of(raw_name)
    if not raw_name and not key:
        key = name
    reply_to.check_bind(name)
    vhost_of(channel).unbind_queue(name, exchange, key, args, channel.peer.connection)
    out = BytesWriter()
    wire.queue_unbind_ok(out, channel.number)
    answer(channel, out, False)


def queue_purge(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = channel.queue_of(clean(r.shortstr()))
    no_wait = r.octet() & 1 != 0
    vhost = vhost_of(channel)
    vhost.position = 0
    n = 0
    if vhost.replies.find(name) is None:
        n = vhost.purge_queue(name, channel.peer.connection)
    out = BytesWriter()
    wire.queue_purge_ok(out, channel.number, n)
    answer(channel, out, no_wait)


def queue_delete(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = channel.queue_of(clean(r.shortstr()))
    bits = r.octet()  # if-unused, if-empty, no-wait
    n = vhost_of(channel).delete_queue(name, bits & 1 != 0, bits & 2 != 0, channel.peer.connection)
    out = BytesWriter()
    wire.queue_delete_ok(out, channel.number, n)
    answer(channel, out, bits & 4 != 0)


# ---- basic


def basic_qos(channel: AmqpChannel, r: Reader) -> None:
    size = r.long()
    count = r.short()
    for_all = r.octet() & 1 != 0
    if size != 0:
        raise NotSupported(f"prefetch_size!=0 ({size})")
    if for_all:  # RabbitMQ: shared by all consumers of the channel
        channel.prefetch = count
    else:  # RabbitMQ: for each consumer to come
        channel.default_prefetch = count
        channel.prefetch = 0
    for c in channel.consumers.values():
        c.queue.wake()
    wire.basic_qos_ok(channel.peer.out, channel.number)
    channel.peer.touch()


def basic_consume(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = channel.queue_of(clean(r.shortstr()))
    tag = r.shortstr()
    bits = r.octet()  # no-local (not supported, as in RabbitMQ), no-ack, exclusive, no-wait
    args = read_table(r)
    if tag in channel.consumers:
        raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
    vhost = vhost_of(channel)
    if name == PSEUDO_QUEUE:
        reply_to.consume(channel, vhost, tag, bits & 2 != 0, bits & 8 != 0)
        return
    reply_to.check_queue(channel, vhost, name, False)
    queue = vhost.queue(name, channel.peer.connection)
    check_consumer(args, queue.queue_type, named("queue", queue.name, vhost.name))
    if not tag:
        tag = "amq.ctag-" + secrets.token_urlsafe(16)
    consumer = AmqpConsumer(channel, queue, tag, bits & 2 != 0, channel.default_prefetch)
    consumer.exclusive = bits & 4 != 0
    consumer.arguments = args
    vhost.consume(queue, consumer)
    channel.consumers[tag] = consumer
    if bits & 8 == 0:
        wire.basic_consume_ok(channel.peer.out, channel.number, tag)
        channel.peer.touch()


def basic_cancel(channel: AmqpChannel, r: Reader) -> None:
    tag = r.shortstr()
    no_wait = r.octet() & 1 != 0
    requester = channel.requester
    consumer: Consumer | None = None
    if requester is not None and requester.tag == tag:
        reply_to.cancel(channel, tag)
    else:
        consumer = channel.consumers.pop(tag, None)
    if not no_wait:
        wire.basic_cancel_ok(channel.peer.out, channel.number, tag)
        channel.peer.touch()
    if consumer is not None:
        vhost_of(channel).cancel(consumer)


def basic_cancel_ok(channel: AmqpChannel, r: Reader) -> None:
    """The client's answer to our cancel; unasked, RabbitMQ takes it for a cancel."""
    consumer = channel.consumers.pop(r.shortstr(), None)
    if consumer is not None:
        vhost_of(channel).cancel(consumer)


def basic_publish(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    raw = r.rest()
    if channel.resolve(raw) is not None:
        channel.expect_content(raw)


def basic_get(channel: AmqpChannel, r: Reader) -> None:
    r.short()
    name = channel.queue_of(clean(r.shortstr()))
    no_ack = r.octet() & 1 != 0
    vhost = vhost_of(channel)
    reply_to.check_queue(channel, vhost, name, True)
    queue = vhost.queue(name, channel.peer.connection)
    check_may_get(queue)
    getter = AmqpGetter(channel, queue, no_ack)
    channel.hold()
    channel.getter = getter
    vhost.get(queue, getter)


def basic_ack(channel: AmqpChannel, r: Reader) -> None:
    tag = r.signed_longlong()
    channel.ack(tag, r.octet() & 1 != 0)


def basic_nack(channel: AmqpChannel, r: Reader) -> None:
    tag = r.signed_longlong()
    bits = r.octet()  # multiple, requeue
    channel.settle_tag(tag, bits & 1 != 0, RELEASED if bits & 2 else DISCARDED, wire.BASIC_NACK)


def basic_reject(channel: AmqpChannel, r: Reader) -> None:
    tag = r.signed_longlong()
    channel.settle_tag(tag, False, MODIFIED if r.octet() & 1 else REJECTED, wire.BASIC_REJECT)


def basic_recover_async(channel: AmqpChannel, r: Reader) -> None:
    if r.octet() & 1 == 0:
        raise NotSupported("requeue=false")
    channel.release_all(True)


def basic_recover(channel: AmqpChannel, r: Reader) -> None:
    basic_recover_async(channel, r)
    wire.basic_recover_ok(channel.peer.out, channel.number)
    channel.peer.touch()


# ---- confirm, tx


def confirm_select(channel: AmqpChannel, r: Reader) -> None:
    if channel.tx is not None:
        raise PreconditionFailed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms(channel.peer, channel.number)
    if r.octet() & 1 == 0:
        wire.confirm_select_ok(channel.peer.out, channel.number)
        channel.peer.touch()


def tx_select(channel: AmqpChannel, r: Reader) -> None:
    if channel.confirms is not None:
        raise PreconditionFailed("cannot switch from confirm to tx mode")
    if channel.tx is None:
        channel.tx = ChannelTransaction(channel)
        channel.plain = False
    wire.tx_select_ok(channel.peer.out, channel.number)
    channel.peer.touch()


def tx_commit(channel: AmqpChannel, r: Reader) -> None:
    tx = channel.tx
    if tx is None:
        raise PreconditionFailed("channel is not transactional")
    position = tx.commit(channel.peer.turn.journal)
    out = BytesWriter()
    wire.tx_commit_ok(out, channel.number)
    channel.reply_when(position, out.getvalue())


def tx_rollback(channel: AmqpChannel, r: Reader) -> None:
    tx = channel.tx
    if tx is None:
        raise PreconditionFailed("channel is not transactional")
    tx.rollback()
    wire.tx_rollback_ok(channel.peer.out, channel.number)
    channel.peer.touch()


def clean(name: str) -> str:
    """RabbitMQ takes line ends out of names (rabbit_channel, strip_cr_lf)."""
    return name.replace("\r", "").replace("\n", "")


HANDLERS: Final[dict[int, Handler]] = {
    wire.CHANNEL_OPEN: channel_open,
    wire.CHANNEL_FLOW: channel_flow,
    wire.CHANNEL_CLOSE: channel_close,
    wire.CHANNEL_CLOSE_OK: channel_close_ok,
    wire.ACCESS_REQUEST: access_request,
    wire.EXCHANGE_DECLARE: exchange_declare,
    wire.EXCHANGE_DELETE: exchange_delete,
    wire.EXCHANGE_BIND: exchange_bind,
    wire.EXCHANGE_UNBIND: exchange_unbind,
    wire.QUEUE_DECLARE: queue_declare,
    wire.QUEUE_BIND: queue_bind,
    wire.QUEUE_UNBIND: queue_unbind,
    wire.QUEUE_PURGE: queue_purge,
    wire.QUEUE_DELETE: queue_delete,
    wire.BASIC_QOS: basic_qos,
    wire.BASIC_CONSUME: basic_consume,
    wire.BASIC_CANCEL: basic_cancel,
    wire.BASIC_CANCEL_OK: basic_cancel_ok,
    wire.BASIC_PUBLISH: basic_publish,
    wire.BASIC_GET: basic_get,
    wire.BASIC_ACK: basic_ack,
    wire.BASIC_NACK: basic_nack,
    wire.BASIC_REJECT: basic_reject,
    wire.BASIC_RECOVER_ASYNC: basic_recover_async,
    wire.BASIC_RECOVER: basic_recover,
    wire.CONFIRM_SELECT: confirm_select,
    wire.TX_SELECT: tx_select,
    wire.TX_COMMIT: tx_commit,
    wire.TX_ROLLBACK: tx_rollback,
}
