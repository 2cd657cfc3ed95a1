"""One connection to a broker: operations out as bytes, frames in as `Seen`. Decides nothing about when.

Reuses the raw client of the compatibility suite; field tables and properties are this package's, with their types.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

from pika import spec

from ..compat.broker import Address
from ..compat.raw import HEARTBEAT, METHOD, Closed, Frame, RawConnection, body_frame, frame, header_frame
from ..compat.raw import method_payload as payload_of
from .fields import decode_properties, encode_properties, encode_table
from .trace import Seen

METHODS: dict[str, Any] = {
    f"{name.lower()}.{_each}": getattr(getattr(spec, name), method)
    for name in ("Connection", "Channel", "Access", "Exchange", "Queue", "Basic", "Tx", "Confirm")
    for method in dir(getattr(spec, name))
    if isinstance(getattr(getattr(spec, name), method), type)
    and hasattr(getattr(getattr(spec, name), method), "INDEX")
    for _each in ["".join("-" * (i > 0 and c.isupper()) + c.lower() for i, c in enumerate(method))]
}
ANSWER_TIMEOUT_S = 15.0
_HIDDEN = {"ticket", "nowait", "cluster_id"}


class Silent(Exception):
    """The broker owes an answer."""


def encode(channel: int, kind: str, args: dict[str, Any]) -> bytes:
    """The frames of an operation."""
    known = dict(args)
    body, properties = known.pop("body", ""), known.pop("properties", {})
    table = known.pop("arguments", None)
    payload = payload_of(METHODS[kind](**known))
    if table is not None:  # `arguments` is the last field of every method that has it
        assert payload.endswith(b"\0\0\0\0")
        payload = payload[:-4] + encode_table(table)
    data = frame(METHOD, channel, payload)
    if kind == "basic.publish":
        content = body.encode()
        data += header_frame(channel, len(content), encode_properties(properties))
        data += body_frame(channel, content) if content else b""
    return data


class Line(RawConnection):
    """A connection that is open. `alive` ends with connection.close, `open` are the channels that are."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.open: set[int] = set()
        self.alive = True
        self.login()

    def ensure(self, channel: int) -> bool:
        """Open `channel` if it is not; True when it had to be."""
        if channel in self.open:
            return False
        self.open_channel(channel)
        self.open.add(channel)
        return True

    def read_seen(self) -> tuple[int, Seen]:
        """The next method with its content. Closing by the broker is agreed to here."""
        if not self._buffer and not select.select([self.socket], [], [], ANSWER_TIMEOUT_S)[0]:
            raise Silent
        found = self.read_frame()
        while found.kind == HEARTBEAT:
            found = self.read_frame()
        assert found.kind == METHOD, found
        method = spec.methods[struct.unpack_from(">I", found.payload)[0]]()
        method.decode(found.payload, 4)
        seen = Seen(_name_of(method), {key: each for key, each in vars(method).items() if key not in _HIDDEN})
        if method.synchronous is False and seen.name in ("basic.deliver", "basic.get-ok", "basic.return"):
            self._read_content(found, seen)
        if seen.name == "channel.close":
            self.open.discard(found.channel)
            self.send_method(found.channel, spec.Channel.CloseOk())
        elif seen.name == "connection.close":
            self.alive = False
            self.send_method(0, spec.Connection.CloseOk())
        return found.channel, seen

    def _read_content(self, method: Frame, seen: Seen) -> None:
        header = self.read_frame()
        assert header.channel == method.channel, header
        size = struct.unpack_from(">Q", header.payload, 4)[0]
        body = b""
        while len(body) < size:
            body += self.read_frame().payload
        seen.fields["properties"] = decode_properties(header.payload[12:])
        seen.fields["body"] = body.decode(errors="backslashreplace")

    def drop(self) -> None:
        """End without a word."""
        self.alive = False
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def leave(self) -> None:
        """Close in good order, whatever still comes."""
        if not self.alive:
            return
        self.alive = False
        try:
            self.send_method(0, spec.Connection.Close(200, "bye", 0, 0))
            while self.read_seen()[1].name not in ("connection.close-ok", "connection.close"):
                pass
        except (Closed, OSError, Silent):
            pass
        self.socket.close()


_NAMES = {method.INDEX: name for name, method in METHODS.items()}


def _name_of(method: Any) -> str:
    return _NAMES[method.INDEX]
