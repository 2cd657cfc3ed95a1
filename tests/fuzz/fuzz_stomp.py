"""A fuzzer for what STOMP clients send: accepted, or the right error.

An input is an octet that says how it is fed, and bytes.

    to a peer          behind a CONNECT of some version, in pieces of some size: what has to hold is in
                       tests/protocol/stomp/hostile.py
    as header lines    read a second time by another reader (tests/wire/stomp_oracle.py); what is accepted has to survive
                       being kept, told by AMQP 0-9-1, and told again
    as a destination   they name something that a route can hold, or are refused
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from leveret.core.view import view_of
from leveret.errors import InvalidDestination, MalformedFrame, PreconditionFailed
from leveret.protocol.amqp091.foreign import as_amqp
from leveret.protocol.stomp import destinations, mapping
from leveret.protocol.stomp.view import kept_block, made
from leveret.wire.methods import route_bytes
from leveret.wire.stomp_headers import RAW, STOMP_10, STOMP_11, STOMP_12, Headers, parse_headers, put_header
from tests.protocol.stomp.hostile import VERSIONS as SPOKEN
from tests.protocol.stomp.hostile import conversation, survive
from tests.wire import stomp_oracle

VERSIONS: Final = (RAW, STOMP_10, STOMP_11, STOMP_12)  # by the first two bits
DESTINATION: Final = 4
PEER: Final = 8
SYNCED: Final = 16  # the disk keeps up
STEPS: Final = (0, 1, 3, 7, 20, 100, 1_000, 4_096)  # sizes of pieces, by the last three bits; 0: one piece
LARGEST_BYTES: Final = 65_536
ROUTE: Final = route_bytes("", "q")


def one_input(data: bytes) -> None:
    """Raises where something does not hold."""
    if not data:
        return
    how, said = data[0], data[1 : LARGEST_BYTES + 1]
    if how & PEER:
        step = STEPS[how >> 5] or max(len(said), 1)
        pieces = [said[at : at + step] for at in range(0, len(said), step)]
        survive(pieces, SPOKEN[(how & 3) % 3], bool(how & SYNCED))
    elif how & DESTINATION:
        name(said)
    else:
        head(said, VERSIONS[how & 3])


def head(block: bytes, version: int) -> None:
    expected = stomp_oracle.read(block, version)
    try:
        headers = parse_headers(block, version)
    except MalformedFrame as refused:
        assert expected is None, f"refused: {refused.text}"
        return
    assert headers == expected
    for each in VERSIONS:
        assert again(headers, each).count(b"\n") == len(headers)
    assert parse_headers(again(headers, STOMP_12), STOMP_12) == headers
    kept(headers, block)


def again(headers: Headers, version: int) -> bytes:
    out = BytesWriter()
    for each, value in headers:
        put_header(out, each, value, version)
    return out.getvalue()


def kept(headers: Headers, body: bytes) -> None:
    """As a message of these headers, whatever its body."""
    m = made(kept_block(headers), body, ROUTE, mapping.persistent_of(headers))
    view = view_of(m)
    properties = view.properties(m)
    assert properties == mapping.properties_of(headers)
    assert view.body(m) == body
    told = as_amqp(m)
    assert view_of(told).properties(told) == properties
    assert view_of(told).body(told) == body
    told_again = mapping.headers_of(properties)
    parse_headers(again(told_again, STOMP_12), STOMP_12)
    for each, value in view.headers(m).items():
        assert view.header(m, each) == value
    assert view.priority(m) == (-1 if properties.priority is None else properties.priority)
    try:
        mapping.check(headers)
        assert view.ttl_ms(m) >= -1
    except PreconditionFailed:
        pass


def name(destination: bytes) -> None:
    for style in (destinations.RABBITMQ, destinations.ACTIVEMQ):
        try:
            place = destinations.parse(destination, style)
        except InvalidDestination as refused:
            assert refused.summary
            assert refused.text
            continue
        route = place.route()
        if place.kind != destinations.TEMP_QUEUE and not place.wild:
            told = destinations.format_route(route, destinations.RABBITMQ)
            if told != b"/topic/":
                assert destinations.parse(told, destinations.RABBITMQ).route() == route


def seeds() -> list[bytes]:
    """Inputs to begin with."""
    line = (
        b"destination:/queue/a\r\npriority: 5\npersistent:true\nreply-to:r\nx-a\\c\\\\:\\n\\r\\\\c:\n"
        b"expiration:1000\ntimestamp:12\namqp-message-id:m\nx-deliver-after:1s\npriority:6\n"
    )
    found = [bytes([how]) + line for how in range(4)]
    for each in (
        b"/queue/a%2Fb%25",
        b"/topic/a.*.>",
        b"/exchange/x/k.#",
        b"/temp-queue/t",
        b"/reply-queue/a/b",
    ):
        found.append(bytes([DESTINATION]) + each)
    for number, version in enumerate(SPOKEN):
        said = conversation(version)
        found.append(bytes([PEER | SYNCED | number]) + b"".join(said))
        found.append(bytes([PEER | number | 3 << 5]) + b"".join(said))
        for at in range(0, len(said), 3):
            found.append(bytes([PEER | SYNCED | number]) + b"".join(said[at : at + 4]))
    return found
