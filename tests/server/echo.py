"""A conversation that says back what it hears, for tests of what carries it.

    quit                says `bye`, and is over
    off                 says `bye`, is over, and leaves it to the client to end
    anything else       comes back as it is

It has what a server asks of a conversation and of a peer, and derives from neither: compiled, those are not for
interpreted classes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from leveret.errors import LeveretError
from leveret.protocol.peering import NOBODY, Link


class EchoPeer:
    def __init__(self, conversation: Echo) -> None:
        self.conversation = conversation
        self.need = 1
        self.rest_bytes = 0
        self.unsent = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self.choked = False

    def sessions(self) -> list[Any]:
        return []

    def receive(self, chunk: bytes) -> None:
        self.received_bytes += len(chunk)
        self.conversation.hears(chunk)

    def drained(self) -> None:
        pass


class Echo:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.peer = EchoPeer(self)
        self.user = NOBODY
        self.opening = True
        self.over = False
        self.gone = False
        self.publishes = False
        self.client_ends = False
        self.close_reason = ""
        self.heard: list[bytes] = []
        self._out: list[bytes] = []

    def hears(self, chunk: bytes) -> None:
        self.opening = False
        self.heard.append(chunk)
        if chunk in (b"quit", b"off"):
            self.client_ends = chunk == b"off"
            self.says(b"bye")
            self.over = True
        else:
            self.says(chunk)

    def says(self, data: bytes) -> None:
        """In one write with all that is said in this round of the loop."""
        self._out.append(data)
        if len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        parts, self._out = self._out, []
        self.link.write(parts)

    def is_opening(self) -> bool:
        return self.opening

    def is_closing(self) -> bool:
        return False

    def is_over(self) -> bool:
        return self.over

    def the_peer(self) -> EchoPeer:
        return self.peer

    def close(self, error: LeveretError) -> None:
        self.over = True
        asyncio.get_running_loop().call_soon(self._flush)

    def lost(self) -> None:
        self.gone = True
        self.over = True

    def tick(self, now_ms: int) -> int:
        return 0
