"""One connection to a broker, from its handshake to its end: asyncio on one side, the engine on the other.

It opens, keeps alive and closes; it answers what has to be answered, and hands everything else to the owners of its
channels. It never reconnects and decides nothing about messages: that is client.py's and consumer.py's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

from librt.strings import BytesWriter

from leveret._version import VERSION
from leveret.busypoll import BusyPoll
from leveret.client.engine.inbox import Channel, Event, Inbox
from leveret.client.engine.message import Handling, Message
from leveret.client.engine.outbox import Outbox
from leveret.client.engine.output import Output
from leveret.errors import Closed, Disconnected, LeveretError, Refused
from leveret.wire import methods, requests
from leveret.wire.frames import HEARTBEAT, PROTOCOL_HEADER
from leveret.wire.signatures import decode_method
from leveret.wire.table import encode_table

log = logging.getLogger("leveret.client")

WRITE_BYTES = 262_144  # of published messages in one go
CLOSE_TIMEOUT_S = 5.0
CHANNELS = 2_047

CAPABILITIES: dict[str, object] = {
    "publisher_confirms": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Owner:
    """Who has a channel. Called from the loop; must not raise. What it does not care about, it leaves as it is here."""

    def messages(self, messages: list[Message]) -> None:
        """Deliveries."""

    def event(self, event: Event) -> None:
        """A method that is not an answer: basic.cancel, basic.return."""

    def emptied(self) -> None:
        """All that came is settled, and nothing more comes."""

    def closed(self, error: LeveretError) -> None:
        """The channel has ended, or the connection. Its number may be used again."""
        raise NotImplementedError


class Link(asyncio.Protocol):
    """`opened` is done when the broker has let us in, `lost` when the connection has ended, with the reason."""

    def __init__(
        self, user: str, password: str, vhost: str, name: str, heartbeat_s: float, outbox: Outbox
    ) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.inbox = Inbox()
        self.output = Output(self._wake)
        self.polling = BusyPoll(loop.call_soon, 0)
        self.outbox = outbox
        self.publishing = False  # the outbox's channel is open
        self.blocked = ""  # why the broker takes no messages, if so
        self.server_properties: dict[str, object] = {}
        self.opened: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[LeveretError] = loop.create_future()
        self.frame_max_bytes = 131_072
        self.on_blocked: Callable[[str], None] | None = None
        self.on_confirms: Callable[[], None] | None = None
        self._login = (user, password, vhost, name)
        self.channel_max = CHANNELS
        self.greeted = False  # the broker has said who it is
        self._heartbeat_s = heartbeat_s
        self._timer: asyncio.TimerHandle | None = None
        self._wrote = self._heard = False
        self._silent = 0
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._closing = False
        self._owners: dict[int, Owner] = {}
        self._asked: dict[int, deque[tuple[tuple[int, ...], asyncio.Future[Event]]]] = {}
        self._dead: dict[int, asyncio.Future[Event]] = {}  # closed by us, until the broker says so
        self._refusals: dict[int, Refused] = {}  # why the broker closed channels that are not opened again

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._write(PROTOCOL_HEADER)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self.polling.over()
        inbox = self.inbox
        try:
            events = inbox.receive(data)
        except LeveretError as error:
            self.fail(Disconnected(f"the broker sent what cannot be read: {error.text}"))
            return
        if inbox.confirms:
            inbox.confirms = False
            if self.on_confirms is not None:
                self.on_confirms()
        if inbox.touched:
            touched = inbox.touched
            inbox.touched = []
            for channel in touched:
                owner = self._owners.get(channel.number)
                messages = channel.take()
                if owner is not None:
                    owner.messages(messages)
        for event in events:
            try:
                self._event(event)
            except LeveretError as error:
                self.fail(Disconnected(f"the broker sent what cannot be read: {error.text}"))
                return

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.output.ask()

    def connection_lost(self, error: BaseException | None) -> None:
        self._end(
            Disconnected(f"the connection to the broker was lost: {error}" if error else "the broker hung up")
        )

    # ---- out

    def _wake(self) -> None:
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is there: methods and settlements first, then messages while they are taken."""
        data = self.output.take()
        if self.output.emptied:
            emptied = self.output.emptied
            self.output.emptied = []
            for settling in emptied:
                owner = self._owners.get(settling.number)
                if owner is not None:
                    owner.emptied()
        if self.publishing and not self.blocked and not self._paused:
            parts = self.outbox.take(WRITE_BYTES)
            if parts:
                if data:
                    parts.insert(0, data)
                data = parts[0] if len(parts) == 1 else b"".join(parts)
                if self.outbox.unwritten() and self.outbox.window == 0:
                    self.output.ask()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._wrote = True
            transport.write(data)

    def say(self, put: Callable[[BytesWriter], None]) -> None:
        """Add a method's frame to what is written next."""
        out = BytesWriter()
        put(out)
        self.output.write(out.getvalue())

    async def ask(self, channel: int, put: Callable[[BytesWriter], None], *answers: int) -> Event:
        """Send a method and wait for one of its answers.

        Raises Refused when the broker closes the channel or connection for it, Disconnected when the connection ends.
        """
        return await self.request(channel, put, *answers)

    def request(
        self, channel: int, put: Callable[[BytesWriter], None], *answers: int
    ) -> asyncio.Future[Event]:
        """`ask` without waiting. An answer that nobody waits for any more is dropped in its turn."""
        if self.lost.done():
            raise Disconnected(self.lost.result().text)
        if channel and channel not in self.inbox.channels:  # a broker need not answer
            why = self._refusals.get(channel)
            raise Refused(why.code, why.text, why.method) if why else Refused(504, "the channel is closed")
        future: asyncio.Future[Event] = self.loop.create_future()
        self._asked.setdefault(channel, deque()).append((answers, future))
        self.say(put)
        self.polling.begin()
        return future

    # ---- channels

    async def open_channel(
        self,
        owner: Owner,
        handling: Handling,
        outbox: Outbox | None = None,
        no_ack: bool = False,
        number: int = 0,
    ) -> Channel:
        """A new channel, with a number of its own unless one is wanted."""
        if number == 0:
            number = next((n for n in range(8, self.channel_max + 1) if self._free(n)), 0)
            if number == 0:
                raise Refused(504, f"all {self.channel_max} channels of this connection are in use")
        elif number in self._dead:
            await asyncio.wait({self._dead[number]})
        channel = Channel(number, self.output, handling, outbox, no_ack)
        self.inbox.forget(number)
        self.inbox.channels[number] = channel
        self._refusals.pop(number, None)
        self._owners[number] = owner
        try:
            await self.ask(number, lambda out: requests.channel_open(out, number), methods.CHANNEL_OPEN_OK)
        except asyncio.CancelledError:
            self.leave_channel(channel)
            raise
        return channel

    def _free(self, number: int) -> bool:
        return number not in self._owners and number not in self._dead

    async def close_channel(self, channel: Channel) -> None:
        """What is unsettled goes back to its queue. The channel may have ended already."""
        self.leave_channel(channel)
        if channel.number in self._dead:
            # a broker that does not answer (RabbitMQ 3.10, at times, where queues go meanwhile) holds nobody for ever
            await asyncio.wait({self._dead[channel.number]}, timeout=CLOSE_TIMEOUT_S)

    def leave_channel(self, channel: Channel) -> None:
        """The same for who cannot wait."""
        number = channel.number
        if self.inbox.channels.get(number) is not channel or self.lost.done():
            return
        channel.settling.put(self.output.writer)
        closing = self.request(
            number, lambda out: methods.channel_close(out, number, 200, "", 0, 0), methods.CHANNEL_CLOSE_OK
        )
        self.inbox.forget(number)
        self._owners.pop(number, None)
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody need ask
        self._dead[number] = closing

    # ---- in

    def _event(self, event: Event) -> None:
        method = event.method
        if event.channel == 0:
            self._conversation(event)
        elif method == methods.CHANNEL_CLOSE:
            self._channel_closed(event)
        elif method == methods.CHANNEL_FLOW:
            active = event.payload[4:5] != b"\0"
            self.say(lambda out: methods.channel_flow_ok(out, event.channel, active))
        elif method == methods.CHANNEL_CLOSE_OK:
            self._left(event)
        else:
            asked = self._asked.get(event.channel)
            if asked and method in asked[0][0]:
                future = asked.popleft()[1]
                if not future.done():
                    future.set_result(event)
                return
            owner = self._owners.get(event.channel)
            if owner is not None:
                owner.event(event)

    def _left(self, event: Event) -> None:
        """A channel that we closed. What was asked before is not answered, where the broker closed it as well."""
        self._dead.pop(event.channel, None)
        for answers, future in self._asked.pop(event.channel, ()):
            if future.done():
                continue
            if event.method in answers:
                future.set_result(event)
            else:
                future.set_exception(Disconnected("the channel was closed"))

    def _channel_closed(self, event: Event) -> None:
        fields = decode_method(event.payload).fields
        number = event.channel
        self.say(lambda out: methods.channel_close_ok(out, number))
        if number in self._dead:
            return  # both sides close at once; the answer to ours still comes
        error = self._refusals[number] = refusal(fields)
        self.inbox.forget(number)
        owner = self._owners.pop(number, None)
        if number == self.outbox.channel:
            self.publishing = False
        for _, future in self._asked.pop(number, ()):
            if not future.done():
                future.set_exception(error)
        if owner is not None:
            owner.closed(error)

    def _conversation(self, event: Event) -> None:
        """Channel 0 (specification, section 2.2.4)."""
        method = event.method
        if method == methods.CONNECTION_START:
            self._start(decode_method(event.payload).fields)
        elif method == methods.CONNECTION_TUNE:
            self._tune(decode_method(event.payload).fields)
        elif method == methods.CONNECTION_OPEN_OK:
            if not self.opened.done():
                self.opened.set_result(None)
        elif method == methods.CONNECTION_CLOSE:
            error = refusal(decode_method(event.payload).fields)
            out = BytesWriter()
            methods.connection_close_ok(out)
            self._write(out.getvalue())
            self._end(error)
        elif method == methods.CONNECTION_CLOSE_OK:
            self._end(Closed("the client was closed"))
        elif method == methods.CONNECTION_BLOCKED:
            self._block(str(decode_method(event.payload).fields["reason"]) or "no reason given")
        elif method == methods.CONNECTION_UNBLOCKED:
            self._block("")
            self.output.ask()
        else:
            asked = self._asked.get(0)
            if asked and method in asked[0][0]:
                future = asked.popleft()[1]
                if not future.done():
                    future.set_result(event)

    def _block(self, reason: str) -> None:
        self.blocked = reason
        if self.on_blocked is not None:
            self.on_blocked(reason)

    def _start(self, fields: Mapping[str, object]) -> None:
        user, password, _, name = self._login
        self.greeted = True
        properties = fields["server_properties"]
        self.server_properties = properties if isinstance(properties, dict) else {}
        mechanisms = fields["mechanisms"]
        offered = mechanisms.split() if isinstance(mechanisms, bytes) else []
        if not user and b"EXTERNAL" in offered:
            mechanism, response = "EXTERNAL", b""
        elif b"PLAIN" in offered:
            mechanism, response = "PLAIN", f"\0{user}\0{password}".encode()
        else:
            self.fail(Refused(403, f"the broker offers no way to log in that we know: {offered!r}"))
            return
        ours: dict[str, object] = {
            "product": "Leveret client",
            "version": VERSION,
            "platform": "Python",
            "capabilities": CAPABILITIES,
        }
        if name:
            ours["connection_name"] = name
        self.say(
            lambda out: requests.connection_start_ok(out, encode_table(ours), mechanism, response, "en_US")
        )

    def _tune(self, fields: Mapping[str, object]) -> None:
        """The lower of both wishes; 0 is no wish (section 1.4.2.6)."""
        offered = {key: value for key, value in fields.items() if isinstance(value, int)}
        frame_max = offered.get("frame_max", 0)
        self.frame_max_bytes = min(frame_max or self.frame_max_bytes, self.frame_max_bytes)
        self.channel_max = min(offered.get("channel_max", 0) or self.channel_max, self.channel_max)
        theirs = offered.get("heartbeat", 0)
        wanted = max(1, round(self._heartbeat_s)) if self._heartbeat_s > 0 else 0
        agreed = min(theirs, wanted) if theirs and wanted else max(theirs, wanted) if wanted else 0
        self.inbox.frame_max_bytes = self.frame_max_bytes
        vhost = self._login[2]

        def put(out: BytesWriter) -> None:
            requests.connection_tune_ok(out, self.channel_max, self.frame_max_bytes, agreed)
            requests.connection_open(out, vhost)

        self.say(put)
        if agreed:
            self._heartbeat_s = min(self._heartbeat_s, float(agreed))
            self._timer = self.loop.call_later(self._heartbeat_s / 2, self._beat)

    def _beat(self) -> None:
        """Twice a heartbeat interval: say that we live, and see whether the broker does (section 4.2.7)."""
        self._silent = 0 if self._heard else self._silent + 1
        if self._silent > 4:
            self.fail(Disconnected(f"nothing came from the broker for {self._heartbeat_s * 2:g} s"))
            return
        if not self._wrote:
            self._write(HEARTBEAT)
        self._wrote = self._heard = False
        self._timer = self.loop.call_later(self._heartbeat_s / 2, self._beat)

    # ---- the end

    async def close(self) -> None:
        """Say goodbye and wait for the answer, for a while."""
        if self.lost.done():
            return
        self._closing = True
        self.flush()
        self.say(lambda out: methods.connection_close(out, 200, "", 0, 0))
        try:
            await asyncio.wait_for(asyncio.shield(self.lost), CLOSE_TIMEOUT_S)
        except TimeoutError:
            self.fail(Closed("the client was closed"))

    def fail(self, error: LeveretError) -> None:
        """The connection is of no more use."""
        if self._transport is not None:
            self._transport.abort()
        self._end(error)

    def _end(self, error: LeveretError) -> None:
        if self.lost.done():
            return
        if self._closing:
            error = Closed("the client was closed")
        self.lost.set_result(error)
        self.publishing = False
        if self._timer is not None:
            self._timer.cancel()
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # whoever waits is told, nobody else
        for asked in self._asked.values():
            for _, future in asked:
                if not future.done():
                    future.set_exception(error if isinstance(error, Closed) else Disconnected(error.text))
        self._asked.clear()
        owners = list(self._owners.values())
        self._owners.clear()
        for channel in self.inbox.channels.values():
            channel.lose()
        for owner in owners:
            owner.closed(error)
        if self._transport is not None:
            self._transport.close()

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport


def refusal(fields: Mapping[str, object]) -> Refused:
    """What a close of a channel or connection says."""
    code, class_id, method_id = fields["reply_code"], fields["class_id"], fields["method_id"]
    assert isinstance(code, int) and isinstance(class_id, int) and isinstance(method_id, int)
    return Refused(code, str(fields["reply_text"]), class_id << 16 | method_id)
