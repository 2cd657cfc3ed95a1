"""A conversation that says back what it hears, for tests of what carries it.

quit                says `bye`, and is over
off                 says `bye`, is over, and leaves it to the client to end
anything else       comes back as it is
"""

from __future__ import annotations

from leveret.core.broker import Broker
from leveret.core.session import Session
from leveret.errors import LeveretError
from leveret.protocol.peering import Conversation, Link, Peer


class EchoPeer(Peer):
    def __init__(self, conversation: Echo, link: Link) -> None:
        super().__init__(conversation.broker.turn, link)
        self.conversation = conversation

    def sessions(self) -> list[Session]:
        return []

    def receive(self, chunk: bytes) -> None:
        self.heard = True
        self.received_bytes += len(chunk)
        self.conversation.hears(chunk)


class Echo(Conversation):
    def __init__(self, broker: Broker, link: Link, loopback: bool, greets: bool = True) -> None:
        super().__init__(broker, loopback)
        self.opening = greets
        self.over = False
        self.gone = False
        self.heard: list[bytes] = []
        self.peer = EchoPeer(self, link)

    def hears(self, chunk: bytes) -> None:
        self.opening = False
        self.heard.append(chunk)
        if chunk in (b"quit", b"off"):
            self.client_ends = chunk == b"off"
            self.says(b"bye")
            self.end()
        else:
            self.says(chunk)

    def says(self, data: bytes) -> None:
        self.peer.write_part(data)
        self.peer.touch()

    def end(self) -> None:
        self.over = True
        self.peer.stopped = True
        self.peer.touch()

    def is_opening(self) -> bool:
        return self.opening

    def is_closing(self) -> bool:
        return False

    def is_over(self) -> bool:
        return self.over

    def state_name(self) -> str:
        return "over" if self.over else "running"

    def protocol_name(self) -> str:
        return "echo"

    def the_peer(self) -> Peer:
        return self.peer

    def close(self, error: LeveretError) -> None:
        self.end()

    def lost(self) -> None:
        self.gone = True
        self.over = True
