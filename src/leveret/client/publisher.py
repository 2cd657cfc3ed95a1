"""What is sent: bodies and options made into frames, and a bound on what waits. Outcomes are outcomes.py.

It owns the outbox, over all connections. Encoding happens here, once; sending is the link's business, and when there is a
link is the client's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, cast

from leveret.client.engine.message import READY
from leveret.client.engine.outbox import MADE_ID_BYTES, STEM_BYTES, Done, Outbox, Template
from leveret.client.outcomes import OnOutcome, Posted, Published, Waiter, error_of, settle
from leveret.client.payload import Payloads
from leveret.client.spool import Spool
from leveret.client.spooling import Spooled, Spooling
from leveret.client.targets import Options, Target, check_options, target
from leveret.client.telemetry import Tracing
from leveret.client.topology import UNIQUE_HEADER
from leveret.errors import BufferFull, InvalidMessage, LeveretError
from leveret.wire.methods import route_bytes
from leveret.wire.properties import MESSAGE_ID, Properties, encode_properties, find_property

log = logging.getLogger("leveret.client")

PUBLISH_CHANNEL: Final = 1
TEMPLATES: Final = 1_024  # kept for options that repeat
# Options that differ from message to message: no template is kept for them.
OWN: Final = frozenset(
    ("headers", "message_id", "correlation_id", "timestamp", "at", "delay_s", "group", "unique")
)


@dataclass(frozen=True)
class Buffer:
    """How much may be posted and not confirmed, and what happens then.

    full: 'wait' (awaiting `post` waits for room; who does not await is refused at twice the bound), 'raise'
    (BufferFull), or 'drop' (the message is dropped, and counted).
    """

    messages: int = 100_000
    size_bytes: int = 64 << 20
    full: Literal["wait", "raise", "drop"] = "wait"

    def __post_init__(self) -> None:
        if self.full not in ("wait", "raise", "drop"):
            raise ValueError(f"full is 'wait', 'raise' or 'drop', not {self.full!r}")
        if self.messages < 1 or self.size_bytes < 1:
            raise ValueError("a buffer has room for at least one message and one byte")


class Publisher:
    """`ask` is called when there is something to write."""

    def __init__(
        self, payloads: Payloads, buffer: Buffer, ask: Callable[[], None], expect: Callable[[], None]
    ) -> None:
        self.outbox = Outbox(PUBLISH_CHANNEL, secrets.token_hex(STEM_BYTES // 2).encode())
        self.payloads = payloads
        self.buffer = buffer
        self.ask = ask
        self.expect = expect
        self.on_outcome: OnOutcome | None = None
        self.posted = 0
        self.dropped = 0
        self.spooling: Spooling | None = None
        self.tracing: Tracing | None = None
        self.delayed: Callable[[Target, int], Target] | None = (
            None  # how this broker delays, if not by itself
        )
        self.demand: Callable[[str, str], None] = lambda name, what: None
        self._checked: set[tuple[object, ...]] = set()
        self._templates: dict[object, Template] = {}
        self._as_is: dict[object, Template] = {}  # of bytes that are sent as they are, by target and options
        self._room: deque[asyncio.Future[None]] = deque()
        self._empty: list[asyncio.Future[None]] = []

    # ---- encoding

    def prepare(self, to: str | Target, body: object, options: Options) -> tuple[Template, bytes]:
        """Template and body. Raises InvalidMessage, Unsupported, and TypeError for an option that there is not."""
        if type(to) is not str:
            to = target(to)
        own: tuple[object, ...] = ()
        if not options:
            if type(body) is bytes:
                found = self._as_is.get(to)
                if found is not None:
                    return found, body
        elif OWN.isdisjoint(options):
            own = self._checked_once(options)
            if type(body) is bytes:
                found = self._as_is.get((to, own))
                if found is not None:
                    return found, body
        else:
            check_options(options)
            data, content_type, encoding = self.payloads.encode(body, options)
            return self._template(target(to), content_type, encoding, options), data
        data, content_type, encoding = self.payloads.encode(body, options)
        key = (to, own, content_type, encoding)
        template = self._templates.get(key)
        if template is None:
            template = self._template(target(to), content_type, encoding, options)
            keep(self._templates, key, template)
        if type(body) is bytes and self.payloads.sends_as_is(options):
            keep(self._as_is, (to, own) if own else to, template)
        return template, data

    def _checked_once(self, options: Options) -> tuple[object, ...]:
        """Options that repeat, as a key; looked at closely when they are new. Raises as `check_options` does."""
        key: tuple[object, ...] = tuple(options.items())
        try:
            if key in self._checked:
                return key
        except TypeError:  # a value that cannot be a key cannot be right, either
            check_options(options)
            raise
        check_options(options)
        if len(self._checked) >= TEMPLATES:
            self._checked.clear()
        self._checked.add(key)
        return key

    def forget_templates(self) -> None:
        """The broker is another one: what it offers may be too."""
        self._templates.clear()
        self._as_is.clear()

    def content(self, to: Target, body: object, options: Options) -> tuple[bytes, Properties, Target]:
        """Body, properties and target of one message, for who sends it by other ways. Raises InvalidMessage."""
        check_options(options)
        data, content_type, encoding = self.payloads.encode(body, options)
        properties = Properties(
            content_type=options.get("content_type") or content_type, content_encoding=encoding
        )
        properties.message_id = options.get("message_id")
        return data, properties, self._fill(properties, to, options)

    def _template(self, to: Target, content_type: str, encoding: str | None, options: Options) -> Template:
        properties = Properties(
            content_type=options.get("content_type") or content_type, content_encoding=encoding
        )
        to = self._fill(properties, to, options)
        mandatory = options.get("mandatory")
        if mandatory is None:
            mandatory = not to.exchange
        message_id = options.get("message_id")
        try:
            if message_id is not None:
                properties.message_id = message_id
                return Template(
                    PUBLISH_CHANNEL, route(to), mandatory, encode_properties(properties), b"", False
                )
            before, after = around_id(properties)
            return Template(PUBLISH_CHANNEL, route(to), mandatory, before, after, True)
        except (ValueError, TypeError) as error:
            raise InvalidMessage(f"a message to {to} cannot be encoded: {error}") from None

    def _fill(self, properties: Properties, to: Target, options: Options) -> Target:
        """Properties from options; where the message goes then."""
        headers = dict(options.get("headers") or {})
        properties.delivery_mode = 2 if options.get("persistent", True) else 1
        properties.correlation_id = options.get("correlation_id")
        properties.reply_to = options.get("reply_to")
        properties.type = options.get("type")
        properties.app_id = options.get("app_id")
        properties.timestamp = options.get("timestamp")
        priority = options.get("priority")
        if priority is not None and not 0 <= priority <= 255:
            raise InvalidMessage(f"priority is 0 to 255, not {priority!r}")
        properties.priority = priority
        expires_s = options.get("expires_s")
        if expires_s is not None:
            if expires_s < 0:
                raise InvalidMessage(f"expires_s is 0 or more seconds, not {expires_s!r}")
            properties.expiration = str(round(expires_s * 1000))
        group, unique = options.get("group"), options.get("unique")
        if group is not None:
            self.demand("groups", "a message with a group")
            headers.setdefault("x-group-id", group)
        if unique is not None:
            self.demand("unique", "a unique message")
            headers.setdefault(UNIQUE_HEADER, unique)
        delay_ms = delay_of(options)
        if delay_ms > 0:
            if self.delayed is None:
                headers["x-deliver-after"] = delay_ms
            else:
                to = self.delayed(to, delay_ms)
        if headers:
            properties.headers = headers
        return to

    # ---- sending

    async def publish(
        self, to: str | Target, body: object, timeout_s: float | None, options: Options
    ) -> None:
        template, data = self.prepare(to, body, options)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask()  # before it is kept: where this raises, nothing is sent
        number = self.outbox.add(template, data, Published(future, to, 1))
        self.expect()
        try:
            if timeout_s is None:
                await future
            else:
                async with asyncio.timeout(timeout_s):
                    await future
        except BaseException:
            self.outbox.forget_owner(number)
            raise

    async def publish_many(
        self, to: str | Target, bodies: Iterable[object], timeout_s: float | None, options: Options
    ) -> None:
        bodies = several(bodies)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch = Published(future, to, 1)
        self.ask()
        async with asyncio.timeout(timeout_s):
            for body in bodies:
                template, data = self.prepare(to, body, options)
                batch.more(1)
                self.outbox.add(template, data, batch)
                if self.is_full():
                    self.ask()
                    await self.room()
            batch.more(-1)
            self.ask()
            await future

    def post(
        self, to: str | Target, body: object, on_outcome: OnOutcome | None, options: Options
    ) -> Awaitable[None]:
        if self.tracing is not None:
            where = target(to)
            traced = self.tracing.published(where.exchange, where.key, options.get("headers"))
            options = {**options, "headers": traced.headers}
            traced.end()  # it is handed over; its confirm is nobody's time
        full = self.is_full()
        if full and not self._may_overflow():
            return READY
        template, data = self.prepare(to, body, options)
        tell = on_outcome or self.on_outcome
        self.ask()  # before it is kept: where this raises, nothing is sent
        if self.spooling is not None:
            self.spool(self.spooling, to, template, data, tell, options)
        elif tell is None:
            self.outbox.add(template, data, None)
        else:
            number = self.outbox.add(template, data, None)
            message_id = options.get("message_id") or self.outbox.last_id()
            self.outbox.set_owner(number, Posted(tell, message_id, to, body))
        self.posted += 1
        return self.room() if full else READY

    def spool(
        self,
        spooling: Spooling,
        to: str | Target,
        template: Template,
        data: bytes,
        tell: OnOutcome | None,
        options: Options,
    ) -> None:
        """Post by way of the spool. Raises SpoolError."""
        if template.makes_id:
            message_id = self.outbox.new_id()
            properties = template.before + message_id + template.after[:-1]
        else:
            message_id = (options.get("message_id") or "").encode()
            properties = template.before[:-1]
        posted = None if tell is None else Posted(tell, message_id.decode(), to, data)
        spooling.add(template.route, template.mandatory, properties, data, message_id, posted)

    def _refused(self, owner: Spooled, done: Done) -> None:
        error = error_of(done, "")
        log.error("a spooled message was not taken, and is dropped: %s", error.text if error else "")

    def use_spool(self, spool: Spool) -> None:
        """From now on what is posted goes by way of it, after what it has already."""
        self.spooling = Spooling(spool, self.outbox, self.ask, self._refused)

    def is_full(self) -> bool:
        if self.spooling is not None:
            return not self.spooling.has_room(0)
        outbox = self.outbox
        return outbox.waiting() >= self.buffer.messages or outbox.waiting_bytes() >= self.buffer.size_bytes

    def _may_overflow(self) -> bool:
        """The buffer is full: False for a message that is dropped. Raises BufferFull."""
        outbox, buffer = self.outbox, self.buffer
        if buffer.full == "drop":
            self.dropped += 1
            return False
        if self.spooling is not None:
            raise BufferFull(
                f"the spool {self.spooling.spool.path} is full: {self.spooling.spool.count} messages"
            )
        twice = outbox.waiting() >= 2 * buffer.messages or outbox.waiting_bytes() >= 2 * buffer.size_bytes
        if buffer.full == "raise" or twice:
            advice = "; await post() to wait for room" if buffer.full == "wait" else ""
            raise BufferFull(f"{outbox.waiting()} messages are posted and not confirmed{advice}")
        return True

    def room(self) -> asyncio.Future[None]:
        """Done when there is room in the buffer."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(future)
        return future

    async def flush(self, timeout_s: float | None) -> None:
        """Wait until everything that was sent has its outcome. Raises TimeoutError."""
        self.ask()
        if self._is_empty():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._empty.append(future)
        async with asyncio.timeout(timeout_s):
            await future

    # ---- what became of them

    def drain(self) -> None:
        """Tell everybody what the broker has said."""
        done = self.outbox.done
        if done:
            self.outbox.done = []
            for one in done:
                try:
                    if self.spooling is not None and isinstance(one.owner, Spooled):
                        self.spooling.ended(one.owner, one)
                    else:
                        cast(Waiter, one.owner).finish(one)
                except Exception:  # the application's own; it must not stop the others
                    log.exception("a callback for the outcome of a message failed")
        if self.outbox.unwritten():
            self.ask()  # what went one by one, and what came meanwhile
        self.wake()

    def wake(self) -> None:
        if self._room and not self.is_full():
            while self._room:
                settle(self._room.popleft(), None)
        if self.spooling is not None and not self.work_spool():
            self.ask()  # later again
        if self._empty and self._is_empty():
            waiting, self._empty = self._empty, []
            for future in waiting:
                settle(future, None)

    def _is_empty(self) -> bool:
        return self.outbox.waiting() == 0 and (self.spooling is None or self.spooling.waiting() == 0)

    def work_spool(self) -> bool:
        """Write what is pending, forget what has ended, read on. False where the disk does not let us, which is told in
        the log: nothing is lost then, and it is to be tried again."""
        assert self.spooling is not None
        try:
            self.spooling.write()
            self.spooling.forget()
            self.spooling.fill()
        except LeveretError as error:
            log.error("the spool does not work: %s", error.text)
            return False
        return True

    def give_up_first(self, error: LeveretError) -> None:
        """The oldest message must not be sent again: the broker closed the channel for it."""
        owner = self.outbox.drop_first()
        if self.spooling is not None and isinstance(owner, Spooled):
            self.spooling.refused(owner, error)
            log.error("a spooled message was refused, and is dropped: %s", error.text)
        elif owner is not None:
            cast(Waiter, owner).fail(error)
        self.wake()

    def fail(self, error: LeveretError) -> None:
        """Nothing more is sent, ever."""
        for owner in self.outbox.give_up():
            if isinstance(owner, Spooled):
                continue  # it stays in the spool
            try:
                cast(Waiter, owner).fail(error)
            except Exception:
                log.exception("a callback for the outcome of a message failed")
        for future in [*self._room, *self._empty]:
            settle(future, error)
        self._room.clear()
        self._empty = []


def several(bodies: Iterable[object]) -> Iterable[object]:
    """Raises TypeError for what can be iterated over and is one message all the same."""
    if isinstance(bodies, (str, bytes, bytearray, memoryview, Mapping)):
        raise TypeError(
            f"publish_many takes several messages, such as a list, and not one {type(bodies).__name__}: use publish"
        )
    return bodies


def keep(templates: dict[object, Template], key: object, template: Template) -> None:
    if len(templates) >= TEMPLATES:
        templates.clear()
    templates[key] = template


def route(to: Target) -> bytes:
    return route_bytes(to.exchange, to.key)


def around_id(properties: Properties) -> tuple[bytes, bytes]:
    """The encoded properties before and behind a message id that is not there yet; the flags count on it."""
    properties.message_id = "?" * MADE_ID_BYTES
    data = encode_properties(properties)
    at = find_property(data, 0, len(data), MESSAGE_ID)
    return data[:at], data[at + 1 + MADE_ID_BYTES :]


def delay_of(options: Options) -> int:
    """Milliseconds until a message may be delivered."""
    delay_s, at = options.get("delay_s"), options.get("at")
    if delay_s is not None and at is not None:
        raise InvalidMessage("delay_s and at exclude each other")
    if at is not None:
        moment = at if at.tzinfo is not None else at.astimezone()
        delay_s = (moment - datetime.now(UTC)).total_seconds()
        return max(0, round(delay_s * 1000))
    if delay_s is None:
        return 0
    if delay_s < 0:
        raise InvalidMessage(f"delay_s is 0 or more seconds, not {delay_s!r}")
    return round(delay_s * 1000)
