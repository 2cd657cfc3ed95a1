"""A message as the application sees it: bytes as they came, everything else decoded when somebody asks.

It is settled once: acked, released, retried or rejected. What goes beyond its own connection (decoding by content type,
retries, answers) is done by its `Handling`, which the client makes for each consumer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import TypeVar, cast, final

from leveret.client.engine.output import Settling
from leveret.errors import AlreadySettled, Reject, RetryLater, Stale
from leveret.native import i64, mypyc_attr
from leveret.wire.buffer import Reader
from leveret.wire.find import find_field
from leveret.wire.properties import (
    CONTENT_ENCODING,
    HEADERS,
    MESSAGE_ID,
    REPLY_TO,
    TYPE,
    Properties,
    decode_properties,
    find_property,
    text_at,
)

T = TypeVar("T")

FLAGS_AT = 12  # in the payload of a content header frame


@final
class Ready:
    """Something that may be awaited and is there already."""

    def __await__(self) -> Generator[None, None, None]:
        return cast("Generator[None, None, None]", iter(()))


READY = Ready()


@mypyc_attr(allow_interpreted_subclasses=True)
class Handling:
    """What a client does for the messages of one consumer. The answers may be awaited, and need not be."""

    queue = ""

    def decode(self, message: Message, into: object) -> object:
        """The body as a value, of the type `into` if it is not None. Raises InvalidMessage."""
        raise NotImplementedError

    def expand(self, message: Message) -> bytes:
        """The body as it was before it was compressed. Raises InvalidMessage."""
        raise NotImplementedError

    def retry(self, message: Message, delay_s: float | None) -> Awaitable[None]:
        raise NotImplementedError

    def reject(self, message: Message, reason: str) -> Awaitable[None]:
        raise NotImplementedError

    def move(
        self, message: Message, to: object, headers: dict[str, object], delay_s: float
    ) -> Awaitable[None]:
        raise NotImplementedError

    def reply(self, message: Message, body: object, options: dict[str, object]) -> Awaitable[None]:
        raise NotImplementedError


@final
class Message:
    """A delivery. `raw` is the body as it came; `attempts` is 1 for the first delivery."""

    def __init__(
        self,
        settling: Settling | None,
        handling: Handling,
        tag: i64,
        redelivered: bool,
        route: bytes,
        header: bytes,
    ) -> None:
        self.raw = b""
        self.redelivered = redelivered
        self.settled = settling is None
        self._settling = settling
        self._handling = handling
        self._tag: i64 = tag
        self._route = route
        self._header = header
        self._properties: Properties | None = None
        self._body: bytes | None = None

    # ---- what it says

    @property
    def body(self) -> bytes:
        """The body, decompressed. Raises InvalidMessage."""
        if self._body is None:
            self._body = self._handling.expand(self) if self._flags() & CONTENT_ENCODING != 0 else self.raw
        return self._body

    @property
    def data(self) -> object:
        """The body as a value, as its content type has it. Raises InvalidMessage."""
        return self._handling.decode(self, None)

    def decode(self, into: type[T]) -> T:
        """The body as a value of this type. Raises InvalidMessage, which names the field that does not fit."""
        return cast(T, self._handling.decode(self, into))

    def _flags(self) -> i64:
        header = self._header
        return (i64(header[FLAGS_AT]) << 8) | i64(header[FLAGS_AT + 1])

    @property
    def properties(self) -> Properties:
        """All of AMQP's properties."""
        if self._properties is None:
            self._properties = decode_properties(self._header, FLAGS_AT)
        return self._properties

    @property
    def headers(self) -> dict[str, object]:
        return self.properties.headers or {}

    @property
    def message_id(self) -> str | None:
        return text_at(self._header, FLAGS_AT, len(self._header), MESSAGE_ID)

    @property
    def type(self) -> str | None:
        return text_at(self._header, FLAGS_AT, len(self._header), TYPE)

    @property
    def reply_to(self) -> str | None:
        if self._flags() & REPLY_TO == 0:
            return None
        return text_at(self._header, FLAGS_AT, len(self._header), REPLY_TO)

    @property
    def correlation_id(self) -> str | None:
        return self.properties.correlation_id

    @property
    def content_type(self) -> str | None:
        return self.properties.content_type

    @property
    def content_encoding(self) -> str | None:
        return self.properties.content_encoding

    @property
    def priority(self) -> int | None:
        return self.properties.priority

    @property
    def timestamp(self) -> int | None:
        """Seconds since 1970."""
        return self.properties.timestamp

    @property
    def error(self) -> str | None:
        """Of an answer: what went wrong, if the work failed."""
        found = self.headers.get("x-error")
        return None if found is None else str(found)

    @property
    def app_id(self) -> str | None:
        return self.properties.app_id

    @property
    def persistent(self) -> bool:
        return self.properties.delivery_mode == 2

    @property
    def exchange(self) -> str:
        return Reader(self._route).shortstr()

    @property
    def key(self) -> str:
        reader = Reader(self._route)
        reader.shortstr()
        return reader.shortstr()

    @property
    def queue(self) -> str:
        """The queue it was consumed from."""
        return self._handling.queue

    @property
    def size_bytes(self) -> int:
        return len(self.raw)

    @property
    def attempts(self) -> int:
        """Which delivery this is, 1 for the first, as far as the broker or the headers tell."""
        if self._flags() & HEADERS != 0:
            at = find_property(self._header, FLAGS_AT, len(self._header), HEADERS)
            end = i64(len(self._header))
            for name in (b"x-attempts", b"x-retry-count", b"x-delivery-count"):
                if find_field(self._header, at, end, name) >= 0:
                    found = self.headers.get(name.decode("ascii"))
                    if isinstance(found, int):
                        return max(1, found + 1)
        return 2 if self.redelivered else 1

    @property
    def stale(self) -> bool:
        """Its channel is gone: it cannot be settled, and comes again."""
        return self._settling is not None and not self._settling.alive

    # ---- its end

    def _settle(self) -> Settling:
        """Marks it settled. Raises AlreadySettled, Stale."""
        settling = self._settling
        if self.settled or settling is None:
            raise AlreadySettled(f"this message of {self.queue!r} was settled already")
        if not settling.alive:
            raise Stale(
                f"the channel by which this message of {self.queue!r} came is gone; the broker delivers it again"
            )
        self.settled = True
        return settling

    def hold(self) -> None:
        """Settled as far as the application goes; `finish` or `undo` tells the broker later. Raises as `ack` does."""
        self._settle()

    def finish(self) -> None:
        """What was held is done, if its channel is still there."""
        if self._settling is not None and self._settling.alive:
            self._settling.ack(self._tag)

    def undo(self) -> None:
        """What was held goes back to its queue."""
        if self._settling is not None and self._settling.alive:
            self._settling.nack(self._tag, True)

    def ack(self) -> Ready:
        """It is done. Raises AlreadySettled, Stale; so do the others."""
        self._settle().ack(self._tag)
        return READY

    def release(self) -> Ready:
        """Back to its queue, at once, for whoever is next."""
        self._settle().nack(self._tag, True)
        return READY

    def drop(self) -> Ready:
        """A failed delivery, told as it is: the queue's retry policy, if it has one, or its dead letters."""
        self._settle().nack(self._tag, False)
        return READY

    def retry(self, delay_s: float | None = None) -> Awaitable[None]:
        """Back to its queue after a while: `delay_s`, or what the queue's policy says."""
        return self._handling.retry(self, delay_s)

    def reject(self, reason: str = "") -> Awaitable[None]:
        """It will never do: to the dead letters, where there are some."""
        return self._handling.reject(self, reason)

    def move(self, to: object, headers: dict[str, object], delay_s: float = 0.0) -> Awaitable[None]:
        """Publish it again to `to`, with some headers set, and ack it when the broker has the copy."""
        return self._handling.move(self, to, headers, delay_s)

    def reply(self, body: object, **options: object) -> Awaitable[None]:
        """Send an answer to who asked. Raises InvalidMessage where nobody did."""
        return self._handling.reply(self, body, options)

    def _end(self, error: BaseException | None) -> Awaitable[None]:
        if self.settled:
            return READY
        settling = self._settling
        if settling is None or not settling.alive:
            return READY  # the broker has it again
        if error is None:
            return self.ack()
        if isinstance(error, Reject):
            return self.reject(error.text)
        if isinstance(error, RetryLater):
            return self.retry(error.delay_s)
        if isinstance(error, Exception):
            return self.retry(None)
        return self.release()  # cancelled, interrupted

    def __enter__(self) -> Message:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(error)

    async def __aenter__(self) -> Message:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._end(error)

    def __repr__(self) -> str:
        state = "settled" if self.settled else "redelivered" if self.redelivered else "new"
        return f"<Message {self.message_id or '-'} of {self.queue!r}, {len(self.raw)} bytes, {state}>"
