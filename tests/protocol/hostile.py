"""What has to hold whatever a client sends, and a valid conversation to spoil.

Nothing is raised out of the peer; what it writes are sound frames; a connection.close names a code of the
specification and is the last word but for close-ok; when the client is gone nothing of it is left; and somebody else
on the same broker notices nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from leveret.core.queue import Queue
from leveret.protocol.amqp091.connection import CLOSED, CLOSING
from leveret.wire import methods, requests
from leveret.wire.table import encode_table

from ..rig import Rig
from .talker import PERSISTENT, Talker, opening, publish, request

HARD_CODES: Final = {320, 402, 403, 501, 502, 503, 504, 505, 506, 530, 540, 541}
SOFT_CODES: Final = {311, 313, 403, 404, 405, 406}
TABLE: Final = encode_table({"x-match": "any", "a": 1, "nested": {"list": [1, "two", None, 3.5, True]}})
EXPIRY: Final = encode_table({"x-expires": 60_000, "x-message-ttl": 1_000})
HEADERS: Final = b"\xb0\0\x0atext/plain" + encode_table({"a": 1, "b": [b"\xff", {"c": None}]}) + b"\x02"


def frames() -> list[bytes]:
    """A conversation that uses every method of a client, frame by frame but for publishes."""
    said = [opening(), request(requests.channel_open, 1), request(requests.channel_open, 2)]
    said += [
        request(requests.queue_declare, 1, "q", exclusive=True, arguments=TABLE),
        request(requests.queue_declare, 1, "d", durable=True),
        request(requests.queue_declare, 1, "e", arguments=EXPIRY),
        request(requests.exchange_declare, 1, "x", "headers", durable=True),
        request(requests.exchange_bind, 1, "x", "amq.fanout", "k"),
        request(requests.queue_bind, 1, "q", "x", "", arguments=TABLE),
        request(requests.queue_bind, 1, "d", "amq.topic", "a.*.#"),
        request(requests.basic_qos, 1, 3, for_all=True),
        request(requests.basic_consume, 1, "q", "t", arguments=TABLE),
        request(requests.basic_consume, 2, "d", "", no_ack=True),
        request(requests.confirm_select, 2),
        publish(2, "a.b.c", b"topical", PERSISTENT, exchange="amq.topic"),
        publish(2, "", b"by headers", HEADERS, exchange="x"),
        publish(1, "e", b"for a while", b"\x01\0\x0510000"),
        publish(1, "q", bytes(9_000), frame_max=4_096),
        publish(1, "nobody", b"back", b"\0\x10\x05guest", mandatory=True),
        request(methods.basic_ack, 1, 1, True),
        request(methods.basic_nack, 1, 2, False, True),
        request(requests.basic_reject, 1, 3, True),
        request(requests.basic_get, 1, "d"),
        request(requests.basic_recover, 1, True),
        request(requests.basic_recover_async, 1, True),
        request(requests.channel_open, 3),
        request(requests.tx_select, 3),
        publish(3, "d", b"in tx", PERSISTENT),
        request(requests.tx_commit, 3),
        publish(3, "d", b"not", PERSISTENT),
        request(requests.tx_rollback, 3),
        request(methods.channel_flow, 1, True),
        request(requests.access_request, 1, "/data"),
        b"\x08\0\0\0\0\0\0\xce",
        request(requests.connection_update_secret, b"guest", "why not"),
        request(requests.queue_unbind, 1, "d", "amq.topic", "a.*.#"),
        request(requests.exchange_unbind, 1, "x", "amq.fanout", "k"),
        request(methods.basic_cancel, 1, "t", False),
        request(requests.queue_purge, 1, "q"),
        request(requests.queue_delete, 1, "d"),
        request(requests.queue_delete, 1, "e"),
        request(requests.exchange_delete, 1, "x"),
        request(methods.channel_close, 2, 200, "", 0, 0),
        request(methods.connection_close, 200, "bye", 0, 0),
    ]
    return said


def any_frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def survive(pieces: list[bytes], synced: bool = True) -> Talker:
    """Send these pieces to a new broker, each in a turn, and check what has to hold. synced: the disk keeps up."""
    rig = Rig()
    witness = Talker(rig).opened(1)
    witness.declare("witness", exclusive=True)
    talker = Talker(rig)
    for piece in pieces:
        talker.says(piece)
        if synced:
            talker.sync()
    talker.sync()
    _check_last_words(talker)
    talker.lost()
    assert talker.connection.gathered_bytes == 0
    assert talker.peer.channels == {}
    assert rig.vhost.topology.owned_by(talker.connection) == []
    for queue in rig.vhost.topology.queues.values():
        assert isinstance(queue, Queue)
        assert (queue.consumer_count(), queue.unsettled_count()) == (0, 0)
    witness.says(publish(1, "witness", b"well"))
    assert [each.name for each in witness.heard()] == []
    assert witness.bodies("witness") == [b"well"]
    return talker


def _check_last_words(talker: Talker) -> None:
    heard = [] if talker.connection.state == 0 or not talker.connection.started else talker.heard()
    names = [each.name for each in heard]
    for each in heard:
        if each.name == "channel.close":
            assert each["reply_code"] in SOFT_CODES, each
        elif each.name == "connection.close":
            assert each["reply_code"] in HARD_CODES, each
            assert each["reply_code"] != 541, each
    if "connection.close" in names:
        assert set(names[names.index("connection.close") + 1 :]) <= {"connection.close_ok"}
        assert talker.connection.state in (CLOSING, CLOSED)
