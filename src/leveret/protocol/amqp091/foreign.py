"""Messages that came by another protocol, as AMQP 0-9-1 content: what their view says of them, encoded once more.

Also for whoever has to change a message's headers in a way that only AMQP's typed tables can hold.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from leveret.core.view import view_of
from leveret.limits import FRAME_MAX_BYTES
from leveret.message import AMQP091, Message
from leveret.native import i64
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, encode_properties

CHANNEL: Final[i64] = 1  # any but 0, which is the mark of dead letters that this broker has made


def as_amqp(m: Message) -> Message:
    """The message as its publisher would have sent it by AMQP 0-9-1."""
    if m.protocol == AMQP091:
        return m
    view = view_of(m)
    found = made(view.properties(m), view.body(m), m.route, m.persistent)
    found.terms = m.terms
    return found


def made(properties: Properties, body: bytes, route: bytes, persistent: bool) -> Message:
    """A message of these properties. Raises ValueError for what does not fit its field."""
    out = BytesWriter()
    content_header(out, CHANNEL, i64(len(body)), encode_properties(properties))
    body_frames(out, CHANNEL, body, FRAME_MAX_BYTES)
    return Message(out.getvalue(), route, i64(len(body)), persistent, AMQP091)
