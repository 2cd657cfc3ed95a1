"""Direct reply-to: replies that go straight to whoever asked, through no queue (RabbitMQ's rabbit_volatile_queue).

A requester gets a name that nobody can guess; what is published to the default exchange with that name as its key is
handed to it at once, or is gone. Names are of one virtual host, and each is good until its requester goes. How a
reply is written is the requester's business.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final, final

from leveret.core.destination import named
from leveret.errors import NotSupported, PreconditionFailed
from leveret.message import Message
from leveret.native import mypyc_attr

PSEUDO_QUEUE: Final = "amq.rabbitmq.reply-to"  # what a requester consumes from, and names as its reply-to
PREFIX: Final = "amq.rabbitmq.reply-to."  # of the names that servers see


@mypyc_attr(allow_interpreted_subclasses=True)
class Requester:
    """name: given by `Replies.enter`."""

    def __init__(self) -> None:
        self.name = ""

    def take_reply(self, m: Message) -> bool:
        """False if there is no room for it: it is dropped."""
        raise NotImplementedError


@final
class Replies:
    """The requesters of a virtual host. dropped: replies for those who were too slow to read."""

    def __init__(self) -> None:
        self.requesters: dict[str, Requester] = {}  # by the part of the name that is no secret
        self.dropped = 0

    def enter(self, requester: Requester) -> None:
        label = secrets.token_hex(8)
        requester.name = f"{PREFIX}{label}.{secrets.token_urlsafe(24)}"
        self.requesters[label] = requester

    def leave(self, requester: Requester) -> None:
        self.requesters.pop(label_of(requester.name), None)

    def find(self, name: str) -> Requester | None:
        """How long it takes tells nothing about the secret part of a name."""
        requester = self.requesters.get(label_of(name))
        if requester is None:
            return None
        asked = name.encode("utf-8", "surrogateescape")
        return requester if hmac.compare_digest(asked, requester.name.encode("ascii")) else None

    def hand(self, name: str, m: Message) -> bool:
        """False if nobody has this name."""
        requester = self.find(name)
        if requester is None:
            return False
        if not requester.take_reply(m):
            self.dropped += 1
        return True


def label_of(name: str) -> str:
    return name[len(PREFIX) :].partition(".")[0]


def refuse_consume(requester: Requester, own: Requester | None, vhost: str) -> PreconditionFailed:
    """Replies are consumed from the pseudo-queue; their real name is for publishing."""
    what = named("queue", requester.name, vhost)
    if requester is own:
        return PreconditionFailed(f"multiple consumers are unsupported for {what}")
    return PreconditionFailed(f"only creator channel may consume from {what}")


def refuse_get(requester: Requester, vhost: str) -> NotSupported:
    return NotSupported(f"basic.get not supported by volatile {named('queue', requester.name, vhost)}")
