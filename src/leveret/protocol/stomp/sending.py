"""What a SEND says in its headers, found out once: a producer sends many messages with the same ones.

`Heads` maps the head of a frame, byte for byte, to what was found. What differs from frame to frame and says nothing of
the message is cut out first: the receipt and the content-length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from leveret.errors import FrameRefused, MalformedFrame
from leveret.limits import HEAD_CACHED_BYTES, HEADS_CACHED
from leveret.native import i64
from leveret.protocol.stomp import mapping
from leveret.protocol.stomp.destinations import ACTIVEMQ, TEMP_QUEUE, Place, parse
from leveret.protocol.stomp.view import kept_block
from leveret.wire.stomp import block_of, cut_header, digits_of, value_at
from leveret.wire.stomp_headers import STOMP_10, Headers, escape, parse_headers, shown, value_of

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.stomp.connection import StompConversation

CACHED_MAX: Final[i64] = HEAD_CACHED_BYTES
RECEIPT_PLAIN_BYTES: Final = 1_024  # longer ones get a look whether they are too long


@final
class Sending:
    """kept: the headers as a message keeps them; place, headers: where to, and what a queue there is declared with;
    length: of the body, -1: up to the first NUL; plain: nothing about it needs a look."""

    def __init__(self, place: Place, headers: Headers, kept: bytes, raw: bytes) -> None:
        self.place = place
        self.headers = headers
        self.kept = kept
        self.raw = raw  # exchange and key, and no bits
        self.length: i64 = -1
        self.persistent = False
        self.asks: i64 = 0
        self.user_id: bytes | None = None
        self.transaction: bytes | None = None
        self.ranked = False  # has a priority
        self.plain = False
        self.lasts = True  # means the same in the next frame
        self.route: Route | None = None

    def of_length(self, length: i64) -> Sending:
        """The same with another body."""
        other = Sending(self.place, self.headers, self.kept, self.raw)
        other.length = length
        other.persistent = self.persistent
        other.asks = self.asks
        other.user_id = self.user_id
        other.transaction = self.transaction
        other.ranked = self.ranked
        other.plain = self.plain
        other.lasts = self.lasts
        other.route = self.route
        return other


@final
class Heads:
    """receipt: of the head looked at last, as it came; None if it asked for none."""

    def __init__(self, conversation: StompConversation, version: i64, style: i64) -> None:
        self.conversation = conversation
        self.version: i64 = version
        self.style: i64 = style
        self.known: dict[bytes, Sending] = {}
        self.receipt: bytes | None = None

    def find(self, head: bytes) -> Sending:
        """What this head says. Raises MalformedFrame, FrameRefused, PreconditionFailed, InvalidDestination."""
        self.receipt = None
        found = self.known.get(head)
        if found is not None:
            return found
        at: i64 = head.find(b"\nreceipt:")
        if at >= 0:
            receipt = value_at(head, at + 9)
            if len(receipt) > RECEIPT_PLAIN_BYTES or b"\\" in receipt or b"\r" in receipt or b"\0" in receipt:
                parse_headers(block_of(head), self.version)  # raises if it is none: it is told as it came
            self.receipt = receipt.lstrip(b" \t") if self.version == STOMP_10 else receipt
            head = cut_header(head, at)
            found = self.known.get(head)
            if found is not None:
                return found
        length: i64 = -1
        shorter = head
        at = head.find(b"\ncontent-length:")
        if at >= 0:
            length = length_of(value_at(head, at + 16))
            shorter = cut_header(head, at)
            kind = self.known.get(shorter)
            if kind is not None:
                found = kind.of_length(length)
                self._keep(head, found)
                return found
        found = self._read(shorter, length)
        if found.lasts:
            self._keep(head, found)
            if length >= 0:
                self._keep(shorter, found.of_length(-1))
        return found

    def forget(self) -> None:
        """Something that heads were found to mean is so no more."""
        self.known.clear()

    def _keep(self, head: bytes, found: Sending) -> None:
        if len(head) <= CACHED_MAX:
            if len(self.known) >= HEADS_CACHED:
                self.known.clear()
            self.known[head] = found

    def _read(self, head: bytes, length: i64) -> Sending:
        headers = parse_headers(block_of(head), self.version)
        if self.receipt is None:  # its name may be told in escapes, or its line may be the second of two
            receipt = value_of(headers, b"receipt")
            self.receipt = None if receipt is None else escape(receipt, self.version)
        if length < 0:
            told = value_of(headers, b"content-length")
            if told is not None:
                length = length_of(told)
        if value_of(headers, b"message-id") is not None:
            raise FrameRefused("Invalid header", "'message-id' is not allowed on 'SEND'.\n")
        destination = value_of(headers, b"destination")
        if destination is None:
            raise FrameRefused("Missing destination", "SEND must include a 'destination' header\n")
        place = parse(destination, self.style)
        if place.kind == TEMP_QUEUE:
            raise not_for(destination, "SEND")
        if place.wild:
            raise FrameRefused(
                "Invalid destination", f"{shown(destination)}: wildcards are to subscribe with\n"
            )
        lasts = True
        if self.style == ACTIVEMQ:
            expires = value_of(headers, b"expires")
            if expires is not None:
                now_ms = self.conversation.broker.turn.now_ms
                headers = with_expiration(headers, mapping.expiration_of(expires, now_ms))
                lasts = False
        reply = reply_place(headers, self.style)
        if reply is not None:
            queue = self.conversation.reply_queue(reply.queue)
            headers = [(name, queue if name == mapping.REPLY_TO else value) for name, value in headers]
        mapping.check(headers)
        found = Sending(place, headers, kept_block(headers), place.route() + b"\0")
        found.length = length
        found.persistent = mapping.persistent_of(headers)
        found.asks = mapping.asks_of(headers)
        found.user_id = value_of(headers, mapping.USER_ID)
        found.transaction = value_of(headers, b"transaction")
        found.ranked = value_of(headers, mapping.PRIORITY) is not None
        found.lasts = lasts
        found.plain = found.asks == 0 and found.user_id is None and found.transaction is None
        return found


def with_expiration(headers: Headers, expiration: bytes | None) -> Headers:
    """Headers whose `expires` is told as AMQP does."""
    found = [(name, value) for name, value in headers if name not in (b"expires", mapping.EXPIRATION)]
    if expiration is not None:
        found.append((mapping.EXPIRATION, expiration))
    return found


def length_of(value: bytes) -> i64:
    """A content-length. Raises MalformedFrame."""
    length = digits_of(value.strip())
    if length < 0:
        raise MalformedFrame(f"content-length {shown(value)} is no number of bytes")
    return length


def not_for(destination: bytes, command: str) -> FrameRefused:
    text = f"'{mapping.text_of(destination)}' is not a valid destination for '{command}'\n"
    return FrameRefused("Invalid destination", text)


def reply_place(headers: Headers, style: i64) -> Place | None:
    """The temp-queue that a reply-to names, if it names one."""
    told = value_of(headers, mapping.REPLY_TO)
    if told is None or not told.startswith(b"/temp-queue/"):
        return None
    return parse(told, style)
