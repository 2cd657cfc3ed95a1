"""One connection through the proxy: a socket to the client, one to the broker, and the frames between them.

Frames are cut and passed on one by one, so that a fault can come between two of them or within one. Knows nothing
of what faults there are: they act through the methods below. No tasks: only protocols and callbacks, so that a test
can look at what the client left behind.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from leveret.wire.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    HEARTBEAT,
    PROTOCOL_HEADER,
    Frame,
    FrameSplitter,
)
from leveret.wire.signatures import decode_method

from ..speech import Command, command_bytes, frame_bytes

Side = Literal["client", "server"]
OTHER: Final[dict[Side, Side]] = {"client": "server", "server": "client"}
GREETING: Final = "greeting"
KINDS: Final = {FRAME_HEADER: "header", FRAME_BODY: "body", FRAME_HEARTBEAT: "heartbeat"}


@dataclass
class Heard:
    """A frame as it came. `name` is a method's ('queue.declare'), 'header', 'body', 'heartbeat' or 'greeting'."""

    side: Side
    name: str
    channel: int
    raw: bytes
    fields: dict[str, object] = field(default_factory=dict)
    looked_at: bool = False

    def __str__(self) -> str:
        return f"{self.side}: {self.name} ({self.channel})"


def heard(side: Side, frame: Frame) -> Heard:
    raw = frame_bytes(frame)
    if frame.kind != FRAME_METHOD:
        return Heard(side, KINDS[frame.kind], frame.channel, raw)
    method = decode_method(frame.payload)
    return Heard(side, method.name, frame.channel, raw, method.fields)


class End(asyncio.Protocol):
    """The socket of one side. Bytes to be written before it is connected wait."""

    def __init__(self, link: Link, side: Side) -> None:
        self.link = link
        self.side: Side = side
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.left = asyncio.Event()
        self._early: list[bytes] = []
        self._closing: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._early:
            transport.write(b"".join(self._early))
            self._early.clear()
        if self._closing is not None:
            self._closing()

    def data_received(self, data: bytes) -> None:
        self.link.receive(self.side, data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.left.set()
        self.link.ended(self.side)

    def write(self, data: bytes) -> None:
        if self.lost or self._closing is not None:
            return
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def fin(self) -> None:
        """Close in order: what was written still goes out."""
        self._end(lambda: self.transport.close() if self.transport else None)

    def reset(self) -> None:
        """RST, as a machine does that has forgotten the connection; what was not read yet is lost."""

        def now() -> None:
            assert self.transport is not None
            linger = struct.pack("ii", 1, 0)
            if not self.lost:
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            self.transport.abort()

        self._end(now)

    def _end(self, how: Callable[[], None]) -> None:
        self._closing = how
        if self.transport is not None:
            how()


# A frame's strikes: whether before it, in its middle or after it, and what to do then.
Strikes = list[tuple[str, Callable[[], None]]]


class Link:
    """Passes frames both ways until it is told otherwise. `look` sees each frame first, and may act on the link."""

    def __init__(self, number: int, look: Callable[[Link, Heard], Strikes]) -> None:
        self.number = number
        self.ends: dict[Side, End] = {"client": End(self, "client"), "server": End(self, "server")}
        self.gone = asyncio.Event()  # both sockets are closed
        self.broken = False  # by a fault: nothing is passed on any more
        self.silent = False
        self.parted = False  # the client's socket outlives the broker's
        self.orphaned = False  # and this is the other way round
        self._look = look
        self._greeting = b""
        self._splitters = {"client": FrameSplitter(), "server": FrameSplitter()}
        self._held: dict[Side, list[Heard] | None] = {"client": None, "server": None}
        self._filters: list[Callable[[Heard], bool]] = []

    # bytes and frames

    def receive(self, side: Side, data: bytes) -> None:
        if side == "client" and len(self._greeting) < len(PROTOCOL_HEADER):
            missing = len(PROTOCOL_HEADER) - len(self._greeting)
            self._greeting += data[:missing]
            data = data[missing:]
            if len(self._greeting) == len(PROTOCOL_HEADER):
                self._frame(Heard(side, GREETING, 0, self._greeting))
        if data and not self.broken:
            for frame in self._splitters[side].feed(data):
                self._frame(heard(side, frame))

    def _frame(self, frame: Heard) -> None:
        if self._holds(frame):
            return
        unseen = not (self.broken or self.silent or frame.looked_at)
        strikes = self._look(self, frame) if unseen else []
        frame.looked_at = True
        self._strike(strikes, "before")
        if self._holds(frame):
            return
        if any(when == "middle" for when, _ in strikes):
            half = len(frame.raw) // 2
            self._write(OTHER[frame.side], frame.raw[:half])
            frame.raw = frame.raw[half:]
            self._strike(strikes, "middle")
            if self._holds(frame):
                return
        self.pass_on(frame)
        self._strike(strikes, "after")

    def _holds(self, frame: Heard) -> bool:
        """Whether the line is held, and the frame with it."""
        held = self._held[frame.side]
        if held is not None:
            held.append(frame)
        return held is not None

    @staticmethod
    def _strike(strikes: Strikes, when: str) -> None:
        for at, strike in strikes:
            if at == when:
                strike()

    def pass_on(self, frame: Heard) -> None:
        """To the other side, unless a filter keeps it."""
        for keep in list(self._filters):
            if keep(frame):
                return
        self._write(OTHER[frame.side], frame.raw)

    def _write(self, to: Side, data: bytes) -> None:
        if not (self.broken or self.silent):
            self.ends[to].write(data)

    # what faults do

    def tell(self, side: Side, command: Command) -> None:
        """A command of our own making."""
        self._write(side, command_bytes(command))

    def beat(self) -> None:
        """A heartbeat for the client, of our own. Not before the connection is open, nor within a frame."""
        if self._held["server"] is None:
            self._write("client", HEARTBEAT)

    def keep(self, filter_: Callable[[Heard], bool]) -> None:
        """Frames for which `filter_` is true are not passed on."""
        self._filters.append(filter_)

    def unkeep(self, filter_: Callable[[Heard], bool]) -> None:
        self._filters.remove(filter_)

    def fin(self) -> None:
        """Both sockets are closed in order, what was passed on before goes out."""
        self.broken = True
        self.ends["client"].fin()
        self.ends["server"].fin()

    def reset(self) -> None:
        """The client's socket is reset; the broker's is closed in order, so that it has what was passed on."""
        self.broken = True
        self.ends["client"].reset()
        self.ends["server"].fin()

    def drop(self) -> None:
        """Both sockets are closed at once, whatever waits to be written."""
        self.broken = True
        for end in self.ends.values():
            end.reset()

    def go_silent(self) -> None:
        """Half open: both sockets stay, nothing is passed on. When the client's is closed, so is the broker's."""
        self.silent = True

    def hold(self, *sides: Side) -> None:
        """Frames from these sides (both, if none is named) wait for `release`."""
        for side in sides or OTHER:
            if self._held[side] is None:
                self._held[side] = []

    def release(self) -> None:
        """What was held goes on, in order, and may meet other faults."""
        for side in OTHER:
            frames, self._held[side] = self._held[side], None
            for frame in frames or []:
                self._frame(frame)

    def ended(self, side: Side) -> None:
        """A socket is gone: so is the other, if the line was not silent."""
        other = self.ends[OTHER[side]]
        if side == "client":
            stays = self.orphaned
        else:
            stays = self.silent or self.parted
        if not other.lost and not stays:
            other.fin()
        if other.lost and self.ends[side].lost:
            self.gone.set()
