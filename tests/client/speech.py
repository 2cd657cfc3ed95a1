"""AMQP as values, for both sides: any method built from its name and fields, frames put together to commands.

Encodes by the table of signatures, so that a test can say anything either side could say, contents included.
Knows nothing of sockets, nor of what an answer to a method would be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from librt.strings import BytesWriter

from leveret.wire import signatures
from leveret.wire.buffer import put_long, put_longlong, put_longstr, put_octet, put_short, put_shortstr
from leveret.wire.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    ContentHeader,
    Frame,
    body_frames,
    content_header,
    open_frame,
)
from leveret.wire.methods import NAMES, carries_content, close_method, open_method
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.table import encode_table

NUMBERS: Final = {name: number for number, name in NAMES.items()}
HEARTBEAT: Final = "heartbeat"  # the name that commands made of heartbeat frames go by


@dataclass
class Command:
    """A method with its fields by name, and what content came with it. A heartbeat is one named `heartbeat`."""

    name: str
    channel: int
    fields: dict[str, object] = field(default_factory=dict)
    properties: Properties | None = None
    body: bytes = b""

    def __getitem__(self, name: str) -> object:
        return self.fields[name]

    def fits(self, name: str, fields: dict[str, object]) -> bool:
        """Whether it is the method of that name, and has these values among its fields."""
        return self.name == name and all(self.fields[key] == value for key, value in fields.items())


def method_frame(name: str, channel: int, fields: dict[str, object]) -> bytes:
    """One frame. Fields that are left out are 0, empty or false; one that the method does not have is an error."""
    number = NUMBERS[name]
    signature = signatures.SIGNATURES[number]
    unknown = set(fields) - set(signature.names)
    if unknown:
        raise ValueError(f"{name} has no {', '.join(sorted(unknown))}: it has {', '.join(signature.names)}")
    out = BytesWriter()
    at = open_method(out, channel, number)
    bits = count = 0
    for key, kind in zip(signature.names, signature.kinds, strict=True):
        if kind == signatures.BIT:
            bits |= bool(fields.get(key, False)) << count
            count += 1
            continue
        if count:
            put_octet(out, bits)
            bits = count = 0
        _put(out, kind, fields.get(key))
    if count:
        put_octet(out, bits)
    close_method(out, at)
    return out.getvalue()


def _put(out: BytesWriter, kind: int, value: object) -> None:
    if kind == signatures.SHORTSTR:
        put_shortstr(out, str(value or ""))
    elif kind == signatures.LONGSTR:
        assert value is None or isinstance(value, bytes)
        put_longstr(out, value or b"")
    elif kind == signatures.TABLE:
        assert value is None or isinstance(value, dict)
        out.write(encode_table(value or {}))
    else:
        assert value is None or isinstance(value, int)
        put = {
            signatures.OCTET: put_octet,
            signatures.SHORT: put_short,
            signatures.LONG: put_long,
            signatures.LONGLONG: put_longlong,
        }
        put[kind](out, value or 0)


def command_bytes(command: Command, frame_max_bytes: int = 0) -> bytes:
    """All frames of a command: its method, and header and body frames if it carries content."""
    if command.name == HEARTBEAT:
        return frame_bytes(Frame(FRAME_HEARTBEAT, 0, b""))
    made = method_frame(command.name, command.channel, command.fields)
    if not carries_content(NUMBERS[command.name]):
        return made
    out = BytesWriter()
    out.write(made)
    properties = encode_properties(command.properties or Properties())
    content_header(out, command.channel, len(command.body), properties)
    body_frames(out, command.channel, command.body, frame_max_bytes)
    return out.getvalue()


def frame_bytes(frame: Frame) -> bytes:
    """A frame as it goes over the wire."""
    out = BytesWriter()
    open_frame(out, frame.kind, frame.channel, len(frame.payload))
    out.write(frame.payload)
    out.append(206)
    return out.getvalue()


class Assembler:
    """Frames in, whole commands out: a method that carries content is complete with its last body frame."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[Command, int, list[bytes]]] = {}  # by channel: and bytes still to come

    def feed(self, frame: Frame) -> Iterator[Command]:
        if frame.kind == FRAME_HEARTBEAT:
            yield Command(HEARTBEAT, frame.channel)
        elif frame.kind == FRAME_METHOD:
            method = signatures.decode_method(frame.payload)
            command = Command(method.name, frame.channel, method.fields)
            if not carries_content(method.number):
                yield command
                return
            assert frame.channel not in self._open, (
                f"{command} while {self._open[frame.channel]} has no content"
            )
            self._open[frame.channel] = (command, -1, [])
        else:
            yield from self._content(frame)

    def _content(self, frame: Frame) -> Iterator[Command]:
        command, missing, parts = self._open.pop(frame.channel)
        if frame.kind == FRAME_HEADER:
            assert missing == -1, f"a second content header for {command}"
            header = ContentHeader(frame.payload)
            command.properties = decode_properties(header.properties)
            missing = header.body_size_bytes
        else:
            assert frame.kind == FRAME_BODY and missing > 0, f"a body that {command} has no room for"
            parts.append(frame.payload)
            missing -= len(frame.payload)
            assert missing >= 0, f"{command} has {-missing} bytes too many"
        if missing:
            self._open[frame.channel] = (command, missing, parts)
        else:
            command.body = b"".join(parts)
            yield command
