"""Headers CC and BCC: further routing keys that the publisher gives a message (RabbitMQ's sender-selected distribution).

Both are arrays of strings; other values in them are passed over. BCC is not to be seen by anyone: it is cut out of the
header frame, which is otherwise left as it came.
"""

from __future__ import annotations

from librt.strings import read_i32_be

from leveret.errors import PreconditionFailed
from leveret.message import Message
from leveret.native import i64
from leveret.protocol.amqp091.content import PROPERTIES
from leveret.wire.find import type_of
from leveret.wire.properties import headers_bytes_at, without_header
from leveret.wire.table import decode_table


def copy_keys(m: Message) -> list[str] | None:
    """The keys of CC, then of BCC; None if there are none. Raises PreconditionFailed (rabbit_basic:header_routes)."""
    encoded = headers_bytes_at(m.data, PROPERTIES, _header_end(m))
    if not encoded:
        return None
    headers = decode_table(encoded)
    keys: list[str] = []
    for name in ("CC", "BCC"):
        if name not in headers:
            continue
        named = headers[name]
        if not isinstance(named, list):
            wrong = type_of(encoded, name)
            raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{wrong}}}')
        keys.extend([key for key in named if isinstance(key, str)])
    return keys if keys else None


def cut_bcc(m: Message) -> None:
    data = m.data
    end = _header_end(m)
    properties = without_header(data, PROPERTIES, end, b"BCC")
    size = len(properties) + int(PROPERTIES) - 7
    m.data = b"".join((data[:3], size.to_bytes(4, "big"), data[7:PROPERTIES], properties, data[end:]))


def _header_end(m: Message) -> i64:
    """Where the payload of the header frame ends."""
    return 7 + i64(read_i32_be(m.data, 3))
