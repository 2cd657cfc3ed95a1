"""What every protocol's conversation is to whoever serves its socket: bytes in, bytes out, a state, an end.

    Link          the way to the socket; the server makes one for each kind of connection
    Peer          the output that has gathered, and whether the other side keeps up with it
    Conversation  who is at the other end, and in which state: opening, running, closing, over

A protocol derives its own peer and conversation from these. Nothing here knows a wire format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter

from leveret.core.access import User
from leveret.core.broker import Broker
from leveret.core.session import Session
from leveret.core.turn import Outlet, Turn
from leveret.errors import LeveretError
from leveret.limits import OUTPUT_HIGH_BYTES
from leveret.native import i64, mypyc_attr

if TYPE_CHECKING:
    from leveret.core.vhost import VHost

OUTPUT_HIGH: Final[i64] = OUTPUT_HIGH_BYTES
NOBODY: Final = User("", None, None, ())


@mypyc_attr(allow_interpreted_subclasses=True)
class Link:
    """The connection's way to its socket, as the peer sees it."""

    def write(self, parts: list[bytes]) -> None:
        """Send, or keep until the socket takes it."""

    def pause_for(self, session: Session) -> None:
        """A session that waits for an answer holds too much: read nothing more."""

    def resume_for(self, session: Session) -> None:
        """The session goes on."""

    def hears(self) -> bool:
        """Whether anything is read now: while nothing is, the other side's silence is none."""
        return True


class Peer(Outlet):
    """Output gathers in `out`, behind the `parts` that leave uncopied, until the turn's `flush`."""

    def __init__(self, turn: Turn, link: Link) -> None:
        super().__init__()
        self.turn = turn
        self.link = link
        self.out = BytesWriter()
        self.parts: list[bytes] = []  # output before `out`: large contents, uncopied
        self.parts_bytes: i64 = 0
        self.choked = False  # a consumer was refused credit because of that
        self.unsent: i64 = 0  # what the socket has not taken yet
        self.rest: list[bytes] = []  # input of a frame that is not whole yet
        self.rest_bytes: i64 = 0
        self.need: i64 = 8  # input bytes with which to try again
        self.vhost: VHost | None = None
        self.stopped = False  # takes no more input: closed, or cannot tell where a frame begins
        self.received_bytes: i64 = 0
        self.sent_bytes: i64 = 0
        self.heard = False  # since the last tick
        self.spoke = False

    # ---- out

    def touch(self) -> None:
        if not self.touched:
            self.touched = True
            self.turn.outlets.append(self)

    def write_part(self, data: bytes) -> None:
        """Send bytes as they are, behind what `out` has."""
        if len(self.out) > 0:
            part = self.out.getvalue()
            self.parts.append(part)
            self.parts_bytes += i64(len(part))
            self.out = BytesWriter()
        self.parts.append(data)
        self.parts_bytes += i64(len(data))

    def flush(self) -> None:
        parts = self.parts
        out = self.out
        if len(out) > 0:
            parts.append(out.getvalue())
            self.out = BytesWriter()
        if parts:
            self.parts = []
            self.parts_bytes = 0
            self.spoke = True
            self.link.write(parts)
            if self.choked and self.can_take():  # the socket took all of it at once
                self.drained()
        elif self.stopped:
            self.link.write(parts)  # nothing, but it may be time to close

    def drained(self) -> None:
        """The socket took what had gathered: consumers here have credit again."""
        self.choked = False
        for session in self.sessions():
            for c in session.consumers.values():
                c.queue.wake()

    def can_take(self) -> bool:
        """Whether the other side keeps up with its deliveries. If not, `drained` follows once it does."""
        if self.unsent + self.parts_bytes + i64(len(self.out)) < OUTPUT_HIGH:
            return True
        self.choked = True
        return False

    # ---- of each protocol

    def sessions(self) -> list[Session]:
        """All that consume or settle here."""
        raise NotImplementedError

    def receive(self, chunk: bytes) -> None:
        """Take what was read. Errors of the peer, and what the broker cannot do, are answered, not raised."""
        raise NotImplementedError


class Conversation:
    """Who is at the other end of a connection. `state` is a protocol's own; the four questions are the same for all."""

    def __init__(self, broker: Broker, loopback: bool) -> None:
        self.broker = broker
        self.loopback = loopback
        self.user = NOBODY
        self.vhost: VHost | None = None
        self.vhost_name = "/"
        self.blocked = ""  # why publishing is blocked, and the client was told
        self.heartbeat_s: i64 = 0
        self.publishes = False  # has published: back-pressure concerns it
        self.close_reason = ""
        self.client_ends = False  # it closed in good order: ending the stream is left to it

    def is_opening(self) -> bool:
        """It has not logged in yet."""
        raise NotImplementedError

    def is_closing(self) -> bool:
        """It was told to go, and its answer is awaited."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """All is said; what is written goes out, then the socket is closed."""
        raise NotImplementedError

    def state_name(self) -> str:
        """For people."""
        raise NotImplementedError

    def protocol_name(self) -> str:
        """For people: 'AMQP 0-9-1'."""
        raise NotImplementedError

    def client(self) -> dict[str, object]:
        """What it says of itself."""
        return {}

    def the_peer(self) -> Peer:
        """Its input and output."""
        raise NotImplementedError

    def bounds(self) -> dict[str, object]:
        """What was agreed: `frame_max_bytes` and `channel_max`, 0 for no bound."""
        return {"frame_max_bytes": 0, "channel_max": 1}

    def session_row(self, session: Session) -> dict[str, object]:
        """One of the peer's sessions, for people: `number`, and how it takes and confirms."""
        return {
            "number": 0,
            "prefetch": 0,
            "channel_prefetch": int(session.prefetch),
            "confirm": False,
            "transactional": False,
        }

    def consumes(self) -> bool:
        """Whether it consumes, or has something to settle: what it sends may be needed."""
        return any(session.consumers or session.out > 0 for session in self.the_peer().sessions())

    def block(self, reason: str) -> None:
        """Publishing is blocked: tell it, if it can be told."""
        self.blocked = reason

    def unblock(self) -> None:
        self.blocked = ""

    def close(self, error: LeveretError) -> None:
        """Close from our side: shutdown, or an operator's wish."""
        raise NotImplementedError

    def lost(self) -> None:
        """The socket is gone."""
        raise NotImplementedError

    def tick(self, now_ms: i64) -> i64:
        """Heartbeats. Returns the next deadline; 0: none. Raises nothing; a dead peer is `stopped`."""
        return 0
