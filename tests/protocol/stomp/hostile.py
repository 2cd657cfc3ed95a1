"""What has to hold whatever a STOMP client sends, and a valid conversation to spoil.

Nothing is raised out of the peer; what it writes are sound frames; an ERROR is the last of them, and says that a frame
is malformed exactly if another reader (tests/wire/stomp_oracle.py) finds so; when the client is gone nothing of it is
left; and somebody else on the same broker notices nothing.
"""

from __future__ import annotations

from typing import Final

from leveret.core.queue import Queue
from tests.rig import Rig
from tests.wire import stomp_oracle

from .talker import Frame, Talker, frame

VERSIONS: Final = ("1.0", "1.1", "1.2")
NUMBERS: Final = {"1.0": 10, "1.1": 11, "1.2": 12}


def conversation(version: str) -> list[bytes]:
    """Every command of a client, frame by frame, behind its CONNECT."""

    def said(command: str, body: bytes = b"", length: bool = False, **headers: str) -> bytes:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return frame(command, told, body, version, b"\r\n" if length else b"\n", length)

    ack = "id" if version == "1.2" else "message-id"
    return [
        said("SUBSCRIBE", destination="/queue/q", id="0", ack="client", prefetch_count="3", receipt="r-0"),
        said("SUBSCRIBE", destination="/topic/a.*.#", id="1", durable="true", x_message_ttl="60000"),
        said("SUBSCRIBE", destination="/exchange/amq.headers/k", id="2", ack="client-individual"),
        said("SEND", b"plain", destination="/queue/q"),
        said("SEND", b"again", destination="/queue/q"),
        said("SEND", b"a\0b\n\nc", True, destination="/queue/q", persistent="true", receipt="r-1", x_a="1"),
        said("SEND", b"topical", destination="/topic/a.b.c", priority="5", expiration="60000", reply_to="r"),
        said("SEND", b"later", destination="/queue/late", x_deliver_after="10s", amqp_message_id="m"),
        said("SEND", b"answer me", destination="/queue/q", reply_to="/temp-queue/t", type="x:\\y"),
        b"\n\r\n\0",
        said("BEGIN", transaction="t"),
        said("SEND", b"in it", destination="/queue/q", transaction="t", persistent="true"),
        said("COMMIT", transaction="t", receipt="r-2"),
        said("BEGIN", transaction="u"),
        said("SEND", bytes(5_000).replace(b"\0", b"x"), destination="/queue/q", transaction="u"),
        said("ABORT", transaction="u"),
        said("UNSUBSCRIBE", id="1", durable="true"),
        said("UNSUBSCRIBE", id="2"),
        frame("NACK", {ack: "T_0@@nobody@@1"}, b"", version) if version == "1.1" else b"",
    ]


def connect(version: str) -> bytes:
    told = {"accept-version": version, "host": "/", "login": "guest", "passcode": "guest"}
    return frame("CONNECT", told)


def survive(pieces: list[bytes], version: str, synced: bool = True, connected: bool = True) -> Talker:
    """Send these pieces to a new broker, each in a turn, and check what has to hold. synced: the disk keeps up;
    connected: behind a CONNECT."""
    rig = Rig()
    witness = Talker(rig).opened()
    witness.subscribe("/exchange/amq.direct/witness")
    talker = Talker(rig, version)
    if connected:
        talker.opened()
    for piece in pieces:
        talker.says(piece)
        if synced:
            talker.sync()
    talker.sync()
    if connected or talker.conversation.state > 0:
        heard = last_words(talker)
        if connected:
            compare(talker, heard, b"".join(pieces))
    talker.lost()
    assert talker.conversation.gathered_bytes == 0
    assert talker.peer.subscribers == {}
    assert talker.conversation.transactions == {}
    assert rig.vhost.topology.owned_by(talker.conversation) == []
    witness.send("/exchange/amq.direct/witness", b"well")
    assert witness.bodies() == [b"well"]
    witness.lost()
    for queue in rig.vhost.topology.queues.values():
        assert isinstance(queue, Queue)
        assert (queue.consumer_count(), queue.unsettled_count()) == (0, 0)
    return talker


def last_words(talker: Talker) -> list[Frame]:
    heard = talker.heard()
    for at, each in enumerate(heard):
        assert each.command in ("CONNECTED", "MESSAGE", "RECEIPT", "ERROR")
        if each.command == "ERROR" and each["message"] != "Server cancelled subscription":
            assert at == len(heard) - 1
            assert talker.conversation.is_over()
            assert each.body
            assert each["message"] not in ("internal_error", "INTERNAL_ERROR")
    return heard


def compare(talker: Talker, heard: list[Frame], said: bytes) -> None:
    """A frame is called malformed if it is so, and not if it is not."""
    found, behind = stomp_oracle.frames(said, NUMBERS[talker.version])
    summary = heard[-1]["message"] if heard and heard[-1].command == "ERROR" else ""
    if summary == "syntax_error":
        assert behind == stomp_oracle.BAD, (found[-1:], heard[-1])
    elif not summary and talker.conversation.state_name() == "running":
        assert behind != stomp_oracle.BAD, found[-1:]
