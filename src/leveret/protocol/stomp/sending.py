"""What a SEND says in its headers, found out once: a producer sends many messages with the same ones.

`Heads` maps the head of a frame, byte for byte, to what was found. What differs from frame to frame and says nothing of
the message is cut out first: the receipt and the content-length. Destinations are remembered by themselves, for those who
say something else in each message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from leveret.errors import FrameRefused, MalformedFrame
from leveret.limits import HEAD_CACHED_BYTES, HEADS_CACHED
from leveret.native import i64
from leveret.protocol.stomp import mapping
from leveret.protocol.stomp.destinations import ACTIVEMQ, TEMP_QUEUE, Place, parse
from leveret.protocol.stomp.view import kept_block
from leveret.wire.stomp import block_of, digits_of
from leveret.wire.stomp_headers import STOMP_10, Headers, parse_headers, shown, value_of

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.stomp.connection import StompConversation

CUT_PLAIN_BYTES: Final = 1_024  # longer ones get a look whether they are too long
NUL: Final[i64] = 0
LF: Final[i64] = 10
CR: Final[i64] = 13
BACKSLASH: Final[i64] = 92
LETTER_C: Final[i64] = 99
LETTER_R: Final[i64] = 114


@final
class Target:
    """A destination: raw is its exchange and key, and no bits; route: what that was found to be."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.raw = place.route() + b"\0"
        self.route: Route | None = None


@final
class Sending:
    """kept: the headers as a message keeps them; headers: what a queue is declared with; plain: nothing about it needs
    a look; lasts: it means the same in the next frame."""

    def __init__(self, target: Target, headers: Headers, kept: bytes) -> None:
        self.target = target
        self.headers = headers
        self.kept = kept
        self.persistent = mapping.persistent_of(headers)
        self.asks: i64 = mapping.asks_of(headers)
        self.user_id: bytes | None = value_of(headers, mapping.USER_ID)
        self.transaction: bytes | None = value_of(headers, b"transaction")
        self.ranked = value_of(headers, mapping.PRIORITY) is not None
        self.plain = self.asks == 0 and self.user_id is None and self.transaction is None
        self.lasts = True


@final
class Heads:
    """receipt: of the head looked at last, as it came, None if it asked for none; length: what its content-length says,
    -1 if there is none."""

    def __init__(self, conversation: StompConversation, version: i64, style: i64) -> None:
        self.conversation = conversation
        self.version: i64 = version
        self.style: i64 = style
        self.known: dict[bytes, Sending] = {}
        self.targets: dict[bytes, Target] = {}
        self.receipt: bytes | None = None
        self.length: i64 = -1

    def find(self, head: bytes) -> Sending:
        """What this head says. Raises MalformedFrame, FrameRefused, PreconditionFailed, InvalidDestination."""
        head = self._cut(head)
        found = self.known.get(head)
        if found is None:
            found = self._read(head)
            if found.lasts and len(head) <= HEAD_CACHED_BYTES:
                if len(self.known) >= HEADS_CACHED:
                    self.known.clear()
                self.known[head] = found
        return found

    def forget(self) -> None:
        """Something that heads were found to mean is so no more."""
        self.known.clear()

    def _cut(self, head: bytes) -> bytes:
        """A head without receipt and content-length, which are left in `receipt` and `length`."""
        receipt: bytes | None = None
        self.receipt = receipt
        self.length = -1
        parts: list[bytes] | None = None
        n: i64 = len(head)
        kept: i64 = 0  # all before it is in parts
        at: i64 = 5  # behind SEND and its line end
        while at < n:
            start = at
            odd = False
            while at < n:
                byte: i64 = i64(head[at])
                if byte == LF:
                    break
                if byte == BACKSLASH or byte == CR or byte == NUL:
                    odd = True
                at += 1
            at += 1
            first: i64 = i64(head[start])
            if first == LETTER_R:
                size: i64 = 8
                if head[start : start + 8] != b"receipt:":
                    continue
            elif first == LETTER_C:
                size = 15
                if head[start : start + 15] != b"content-length:":
                    continue
            else:
                continue
            end = at - 1
            if i64(head[end - 1]) == CR:
                end -= 1
            value = head[start + size : end]
            if odd or len(value) > CUT_PLAIN_BYTES:
                parse_headers(block_of(head), self.version)  # raises what may be wrong with such a line
            if first == LETTER_C:
                if self.length < 0:
                    self.length = length_of(value)
            elif receipt is None:
                receipt = value.lstrip(b" \t") if self.version == STOMP_10 else value
                self.receipt = receipt
            if parts is None:
                parts = []
            parts.append(head[kept:start])
            kept = at
        if parts is None:
            return head
        parts.append(head[kept:])
        return b"".join(parts)

    def _read(self, head: bytes) -> Sending:
        headers = parse_headers(block_of(head), self.version)
        if value_of(headers, b"message-id") is not None:
            raise FrameRefused("Invalid header", "'message-id' is not allowed on 'SEND'.\n")
        destination = value_of(headers, b"destination")
        if destination is None:
            raise FrameRefused("Missing destination", "SEND must include a 'destination' header\n")
        target = self.targets.get(destination)
        if target is None:
            target = self._target(destination)
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
        found = Sending(target, headers, kept_block(headers))
        found.lasts = lasts
        return found

    def _target(self, destination: bytes) -> Target:
        place = parse(destination, self.style)
        if place.kind == TEMP_QUEUE:
            raise not_for(destination, "SEND")
        if place.wild:
            raise FrameRefused(
                "Invalid destination", f"{shown(destination)}: wildcards are to subscribe with\n"
            )
        if len(self.targets) >= HEADS_CACHED:
            self.targets.clear()
        target = Target(place)
        self.targets[destination] = target
        return target


def with_expiration(headers: Headers, expiration: bytes | None) -> Headers:
    """Headers whose `expires` is told as AMQP does."""
    found = [(name, value) for name, value in headers if name not in (b"expires", mapping.EXPIRATION)]
    if expiration is not None:
        found.append((mapping.EXPIRATION, expiration))
    return found


def length_of(value: bytes) -> i64:
    """A content-length. Raises MalformedFrame."""
    length = digits_of(value)
    if length < 0:
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
