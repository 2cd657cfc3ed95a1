"""Direct reply-to on a channel: the consumer of `amq.rabbitmq.reply-to`, and the property that names it.

Errors are worded as in rabbit_channel. Where a reply goes is known in core/replies.py.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be, write_i16_be, write_i32_be, write_i64_be

from leveret.core.destination import not_found
from leveret.core.replies import PREFIX, PSEUDO_QUEUE, Requester, refuse_consume, refuse_get
from leveret.errors import AccessRefused, PreconditionFailed
from leveret.limits import REPLIES_UNSENT_BYTES
from leveret.message import Message
from leveret.native import i16, i32, i64
from leveret.protocol.amqp091.consumer import write_content
from leveret.wire import methods as wire
from leveret.wire.properties import FLAGS_OFFSET_IN_FRAME_BYTES, REPLY_TO, find_property

if TYPE_CHECKING:
    from leveret.core.vhost import VHost
    from leveret.protocol.amqp091.channel import AmqpChannel

PROPERTIES: Final[i64] = FLAGS_OFFSET_IN_FRAME_BYTES
ASKED: Final = bytes([len(PSEUDO_QUEUE)]) + PSEUDO_QUEUE.encode()  # as a short string
ROOM: Final[i64] = REPLIES_UNSENT_BYTES


class ReplyConsumer(Requester):
    """The one reply consumer of a channel. It never acknowledges, and no queue knows it."""

    def __init__(self, channel: AmqpChannel, tag: str) -> None:
        super().__init__()
        self.channel = channel
        self.tag = tag
        raw = tag.encode("utf-8", "surrogateescape")
        self.prefix = bytes([0, 60, 0, 60, len(raw)]) + raw

    def take_reply(self, m: Message) -> bool:
        channel = self.channel
        peer = channel.peer
        out = peer.out
        if peer.unsent + peer.parts_bytes + i64(len(out)) > ROOM:
            return False
        out.append(1)
        write_i16_be(out, i16(channel.number))
        write_i32_be(out, i32(i64(len(self.prefix)) + i64(len(m.route)) + 9))
        out.write(self.prefix)
        write_i64_be(out, channel.skip_tag())
        out.append(0)
        out.write(m.route)
        out.append(206)
        write_content(peer, channel.number, m)
        peer.touch()
        return True


def consume(channel: AmqpChannel, vhost: VHost, tag: str, no_ack: bool, no_wait: bool) -> None:
    """basic.consume of the pseudo-queue. The tag is free among the channel's other consumers."""
    if not no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.requester is not None:
        raise PreconditionFailed("reply consumer already set")
    if not tag:
        tag = "amq.ctag-" + secrets.token_urlsafe(16)
    requester = ReplyConsumer(channel, tag)
    vhost.replies.enter(requester)
    channel.requester = requester
    if not no_wait:
        wire.basic_consume_ok(channel.peer.out, channel.number, tag)
        channel.peer.touch()


def cancel(channel: AmqpChannel, tag: str) -> None:
    """basic.cancel, if it is the reply consumer's tag; other ends have an empty one."""
    requester = channel.requester
    vhost = channel.peer.vhost
    if requester is not None and vhost is not None and tag in ("", requester.tag):
        vhost.replies.leave(requester)
        channel.requester = None


def check_queue(channel: AmqpChannel, vhost: VHost, name: str, get: bool) -> None:
    """Refuse to consume or get from the queue that seems to have a requester's name."""
    if name.startswith(PREFIX):
        requester = vhost.replies.find(name)
        if requester is not None:
            if get:
                raise refuse_get(requester, vhost.name)
            raise refuse_consume(requester, channel.requester, vhost.name)


def check_bind(name: str) -> None:
    if name.startswith(PREFIX):
        raise AccessRefused("cannot bind or unbind to a volatile (direct reply-to) queue")


def is_there(vhost: VHost, name: str) -> bool:
    """Declared, whatever the declaration says; purged and deleted without effect."""
    return name == PSEUDO_QUEUE or vhost.replies.find(name) is not None


def check_declare(vhost: VHost, name: str) -> bool:
    """Whether it is a requester's name that is declared. Raises NotFound if it is nobody's."""
    if not name.startswith(PSEUDO_QUEUE):
        return False
    if not is_there(vhost, name):
        raise not_found("queue", name, vhost.name)
    return True


# ---- the property


def asks_direct(data: bytes, pos: i64, end: i64) -> bool:
    """Whether the properties at `pos`, which are sound, have the pseudo-queue as reply-to."""
    at = find_property(data, pos, end, REPLY_TO)
    return at >= 0 and data[at : at + 22] == ASKED


def name_requester(channel: AmqpChannel, m: Message) -> None:
    """Put the requester's name where a message has the pseudo-queue's. Raises PreconditionFailed."""
    data = m.data
    size: i64 = i64(read_i32_be(data, 3))
    at = find_property(data, PROPERTIES, 7 + size, REPLY_TO)
    if at < 0 or data[at : at + 22] != ASKED:
        return
    requester = channel.requester
    if requester is None:
        raise PreconditionFailed("fast reply consumer does not exist")
    name = requester.name.encode("ascii")
    out = BytesWriter()
    out.write(data[:3])
    write_i32_be(out, i32(size + i64(len(name)) - 21))
    out.write(data[7:at])
    out.append(len(name))
    out.write(name)
    out.write(data[at + 22 :])
    m.data = out.getvalue()
