"""Messages of one channel in confirm mode: encoded once, waiting to be written, then to be confirmed.

    add -> [ open chunk | sealed chunks, unwritten | written chunks ] -> confirm

Frames are kept as they were encoded until the broker has confirmed them, so that they can be sent again, byte by byte
and with the same message id, on another connection. What a message costs here is the copy of its body, and a
number where somebody waits for it. Knows nothing of sockets, loops or time.

A message is known by its number, which grows over all connections; its delivery tag is that less `_tag_base`.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i32_be, write_i16_be, write_i32_be, write_i64_be

from leveret.errors import UnexpectedFrame
from leveret.native import i16, i32, i64
from leveret.wire.frames import (
    BASIC_CLASS,
    FRAME_BODY,
    FRAME_END,
    FRAME_HEAD_BYTES,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
    body_frames,
    open_frame,
)
from leveret.wire.requests import basic_publish_raw

CHUNK_BYTES: Final = 65_536
STEM_BYTES: Final = 10
MADE_ID_BYTES: Final = 20  # stem, and ten digits
LOW_DIGITS: Final = tuple([b"%03x" % number for number in range(4096)])

CONFIRMED: Final = 0
REFUSED: Final = 1
RETURNED: Final = 2


@final
class Template:
    """The frames of a publish but for body and message id, to be filled in many times.

    `before` are the properties from the flags word up to the message id, `after` those behind it. Without `makes_id`
    `before` has all of them.
    """

    def __init__(
        self, channel: int, route: bytes, mandatory: bool, before: bytes, after: bytes, makes_id: bool
    ) -> None:
        size = i64(len(before)) + i64(len(after)) + (1 + MADE_ID_BYTES if makes_id else 0)
        out = BytesWriter()
        basic_publish_raw(out, channel, route, mandatory)
        open_frame(out, FRAME_HEADER, channel, 12 + size)
        write_i16_be(out, i16(BASIC_CLASS))
        write_i16_be(out, 0)  # weight
        self.route = route
        self.mandatory = mandatory
        self.head = out.getvalue()
        self.before = before + bytes([MADE_ID_BYTES]) if makes_id else before + bytes([FRAME_END])
        self.after = after + bytes([FRAME_END])
        self.makes_id = makes_id


@final
class Chunk:
    """Consecutive messages as they go over the wire. `first` is the number of the first of them."""

    def __init__(self, first: i64, count: i64, data: bytes) -> None:
        self.first: i64 = first
        self.count: i64 = count
        self.data = data


@final
class Done:
    """What became of a message that somebody waits for."""

    def __init__(self, owner: object, verdict: int, text: str) -> None:
        self.owner = owner
        self.verdict = verdict
        self.text = text


@final
class Outbox:
    """See above. `stem` makes message ids unique: ten bytes that no other client has."""

    def __init__(self, channel: int, stem: bytes) -> None:
        assert len(stem) == STEM_BYTES
        self.channel: i64 = channel
        self.frame_max_bytes: i64 = 131_072
        self.done: list[Done] = []
        self.confirmed: i64 = 0
        self.refused: i64 = 0
        self.unroutable: i64 = 0
        self.resent: i64 = 0
        self.window: i64 = 0  # most messages written and not confirmed; 0: any number
        self._stem = stem
        self._high = b""
        self._made: i64 = 0  # ids
        self._writer = BytesWriter()
        self._open: i64 = 0  # messages in the writer
        self._chunks: list[Chunk] = []
        self._unwritten = 0  # the first chunk that was not written
        self._bytes: i64 = 0  # in all sealed chunks
        self._next: i64 = 1
        self._low: i64 = 1  # the lowest number not confirmed
        self._written: i64 = 0  # the highest number written
        self._careful_upto: i64 = 0
        self._tag_base: i64 = 0
        self._early: set[int] = set()  # confirmed numbers above the lowest
        self._owners: dict[int, object] = {}
        self._returned: dict[int, str] = {}

    # ---- in

    def add(self, template: Template, body: bytes, owner: object | None) -> int:
        """The message's number. `owner` is given back in `done`; without one only a count tells of its end."""
        out = self._writer
        out.write(template.head)
        size = i64(len(body))
        write_i64_be(out, size)
        out.write(template.before)
        if template.makes_id:
            made = self._made
            low = made & 4095
            if low == 0:
                self._high = self._stem + b"%07x" % int(made >> 12)
            self._made = made + 1
            out.write(self._high)
            out.write(LOW_DIGITS[low])
            out.write(template.after)
        if size > self.frame_max_bytes - FRAME_OVERHEAD_BYTES:
            body_frames(out, self.channel, body, self.frame_max_bytes)
        elif size > 0:
            out.append(FRAME_BODY)
            write_i16_be(out, i16(self.channel))
            write_i32_be(out, i32(size))
            out.write(body)
            out.append(FRAME_END)
        self._open += 1
        number = self._next
        self._next = number + 1
        if owner is not None:
            self._owners[int(number)] = owner
        if len(out) >= CHUNK_BYTES or self.window > 0:
            self._seal()
        return int(number)

    def new_id(self) -> bytes:
        """A message id like those that `add` makes."""
        made = self._made
        low = made & 4095
        if low == 0 or not self._high:
            self._high = self._stem + b"%07x" % int(made >> 12)
        self._made = made + 1
        return self._high + LOW_DIGITS[low]

    def last_id(self) -> str:
        """The message id that `add` made last."""
        return (self._high + LOW_DIGITS[(self._made - 1) & 4095]).decode("ascii")

    def set_owner(self, number: int, owner: object) -> None:
        """Somebody waits for it after all; directly behind `add`."""
        self._owners[number] = owner

    def forget_owner(self, number: int) -> None:
        """Nobody waits for it any more; the message stays."""
        self._owners.pop(number, None)

    def waiting(self) -> int:
        """Messages that are not confirmed."""
        return int(self._next - self._low) - len(self._early)

    def waiting_bytes(self) -> int:
        """Bytes of frames that are kept for them; whole chunks are counted until all in them is confirmed."""
        return int(self._bytes) + len(self._writer)

    def is_waiting(self, number: int) -> bool:
        return self._low <= number < self._next and number not in self._early

    def unwritten(self) -> bool:
        return self._open > 0 or self._unwritten < len(self._chunks)

    # ---- out

    def _seal(self) -> None:
        if self._open == 0:
            return
        chunk = Chunk(self._next - self._open, self._open, self._writer.getvalue())
        self._bytes += len(chunk.data)
        self._chunks.append(chunk)
        self._writer = BytesWriter()
        self._open = 0

    def take(self, limit_bytes: int) -> list[bytes]:
        """What is to be written now, at most about `limit_bytes` of it."""
        self._seal()
        taken: list[bytes] = []
        size: i64 = 0
        while size < limit_bytes and self._unwritten < len(self._chunks):
            if self.window > 0 and self._written - self._low + 1 >= self.window:
                break
            chunk = self._chunks[self._unwritten]
            taken.append(chunk.data)
            size += len(chunk.data)
            self._unwritten += 1
            self._written = chunk.first + chunk.count - 1
        return taken

    # ---- the broker's answers

    def confirm(self, tag: i64, multiple: bool, taken: bool) -> None:
        """basic.ack and basic.nack. Raises UnexpectedFrame for a tag that was not used."""
        number = self._tag_base + tag
        if multiple and tag == 0:
            number = self._written
        if number > self._written or tag < 0:
            raise UnexpectedFrame(f"a confirm of delivery tag {tag} came, which was not used")
        low = self._low
        if multiple:
            if number < low:
                return
            while low <= number:
                if self._early and int(low) in self._early:
                    self._early.discard(int(low))  # it has ended before
                else:
                    self._ends(low, taken)
                low += 1
        elif number < low or int(number) in self._early:
            return
        else:
            self._ends(number, taken)
            if number != low:
                self._early.add(int(number))
                return
            low += 1
        if self._early:
            while int(low) in self._early:
                self._early.discard(int(low))
                low += 1
        self._low = low
        self._drop_chunks()
        if self.window > 0 and low > self._careful_upto:
            self.window = 0

    def _ends(self, number: i64, taken: bool) -> None:
        """One message is confirmed or refused."""
        text = ""
        if self._returned:
            text = self._returned.pop(int(number), "")
        if not taken:
            self.refused += 1
        elif text:
            self.unroutable += 1
        else:
            self.confirmed += 1
        if self._owners:
            owner = self._owners.pop(int(number), None)
            if owner is not None:
                verdict = REFUSED if not taken else RETURNED if text else CONFIRMED
                self.done.append(Done(owner, verdict, text))

    def _drop_chunks(self) -> None:
        gone = 0
        for chunk in self._chunks:
            if chunk.first + chunk.count > self._low or gone == self._unwritten:
                break
            self._bytes -= len(chunk.data)
            gone += 1
        if gone > 0:
            del self._chunks[:gone]
            self._unwritten -= gone

    def returned(self, message_id: bytes, text: str) -> bool:
        """basic.return: its confirm is still to come. False if no such message waits."""
        needle = bytes([len(message_id)]) + message_id
        for chunk in self._chunks:
            at = chunk.data.find(needle)
            while at >= 0:
                number = int(chunk.first) + count_messages(chunk.data, at) - 1
                if self.is_waiting(number) and number not in self._returned:
                    self._returned[number] = text
                    return True
                at = chunk.data.find(needle, at + 1)
        return False

    # ---- another connection

    def reopen(self, careful: bool, frame_max_bytes: int) -> None:
        """The channel is a new one: number anew what is not confirmed, all of it to be written again.

        `careful`: one message at a time, since one of them ended the last channel.
        """
        self._seal()
        self.frame_max_bytes = frame_max_bytes
        messages: list[bytes] = []
        owners: dict[int, object] = {}
        first = self._next
        written = self._written
        for chunk in self._chunks:
            number = int(chunk.first)
            for message in split_messages(chunk.data):
                if self.is_waiting(number):
                    if number in self._owners:
                        owners[int(first) + len(messages)] = self._owners[number]
                    if number <= written:
                        self.resent += 1
                    messages.append(refit(message, frame_max_bytes))
                number += 1
        self._owners = owners
        self._returned = {}
        self._early = set()
        self._chunks = []
        self._unwritten = 0
        self._bytes = 0
        self._low = first
        self._next = first
        self._written = first - 1
        self._tag_base = first - 1
        self.window = 1 if careful and messages else 0
        for message in messages:
            self._writer.write(message)
            self._open += 1
            self._next += 1
            if careful or len(self._writer) >= CHUNK_BYTES:
                self._seal()
        self._careful_upto = self._next - 1

    def in_flight(self) -> int:
        """How many were written and are not confirmed."""
        return max(0, int(self._written - self._low) + 1 - len(self._early))

    def drop_first(self) -> object | None:
        """The lowest message that waits is given up, by whoever has found that it must not be sent. Its owner, if any."""
        if self.waiting() == 0:
            return None
        self._seal()
        number = self._low
        owner = self._owners.pop(int(number), None)
        self.refused += 1
        self._written = max(self._written, number)
        if self._unwritten < len(self._chunks) and self._chunks[self._unwritten].first <= number:
            self._unwritten += 1  # careful: a chunk of its own
        self._low = number + 1
        while int(self._low) in self._early:
            self._early.discard(int(self._low))
            self._low += 1
        self._drop_chunks()
        return owner

    def give_up(self) -> list[object]:
        """Nothing will be confirmed any more. The owners of what waits, in order."""
        owners = [self._owners[number] for number in sorted(self._owners)]
        self._owners = {}
        return owners


def encode(template: Template, channel: i64, body: bytes, frame_max_bytes: i64) -> bytes:
    """One message that is not to be confirmed; its template makes no id."""
    out = BytesWriter()
    out.write(template.head)
    write_i64_be(out, len(body))
    out.write(template.before)
    body_frames(out, channel, body, frame_max_bytes)
    return out.getvalue()


def frame_end(data: bytes, at: i64) -> i64:
    return at + FRAME_OVERHEAD_BYTES + (i64(read_i32_be(data, at + 3)) & 0xFFFFFFFF)


def count_messages(data: bytes, upto: i64) -> int:
    """How many messages begin in `data[:upto]`."""
    at: i64 = 0
    count = 0
    while at < upto:
        if i64(data[at]) == FRAME_METHOD:
            count += 1
        at = frame_end(data, at)
    return count


def split_messages(data: bytes) -> list[bytes]:
    """The frames of each message in a chunk."""
    found: list[bytes] = []
    begin: i64 = 0
    at: i64 = 0
    length = i64(len(data))
    while at < length:
        if at > begin and i64(data[at]) == FRAME_METHOD:
            found.append(data[begin:at])
            begin = at
        at = frame_end(data, at)
    if length > begin:
        found.append(data[begin:])
    return found


def refit(message: bytes, frame_max_bytes: i64) -> bytes:
    """The message with its body in frames of another size, if they are too large."""
    after_method = frame_end(message, 0)
    begin = frame_end(message, after_method)
    length = i64(len(message))
    if begin >= length or frame_max_bytes == 0 or frame_end(message, begin) - begin <= frame_max_bytes:
        return message
    parts: list[bytes] = []
    at = begin
    channel = (i64(message[1]) << 8) | i64(message[2])
    while at < length:
        end = frame_end(message, at)
        parts.append(message[at + FRAME_HEAD_BYTES : end - 1])
        at = end
    out = BytesWriter()
    out.write(message[:begin])
    body_frames(out, channel, b"".join(parts), frame_max_bytes)
    return out.getvalue()
