"""The queues that destinations stand for: what is made when one is sent or subscribed to, and how (RabbitMQ's
rabbit_stomp_util, rabbit_stomp_processor).

    /queue/NAME       durable; with `durable:false` exclusive and gone with its last subscription
    /topic, /exchange a queue for each subscription, exclusive and gone with it; with `durable:true` as the headers
                      auto-delete and exclusive say, and with a name that is the same for the same id and key
    others            have to be there

Headers whose names are queue arguments become these. A queue that is there is used as it is.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from leveret.core.arguments import ARGUMENTS, Argument
from leveret.core.destination import Table
from leveret.core.queue import Queue
from leveret.core.vhost import VHost
from leveret.errors import FrameRefused
from leveret.native import i64
from leveret.protocol.stomp.destinations import EXCHANGE, QUEUE, TOPIC, Place
from leveret.protocol.stomp.mapping import is_true, text_of
from leveret.protocol.stomp.session import StompSession
from leveret.protocol.stomp.subscription import Subscription
from leveret.wire.stomp_headers import Headers, value_of

if TYPE_CHECKING:
    from leveret.protocol.stomp.connection import StompConversation

# Arguments that are no numbers.
TEXTS: Final = frozenset(
    (
        "x-queue-type",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-overflow",
        "x-max-age",
        "x-queue-leader-locator",
        "x-queue-mode",
        "x-queue-master-locator",
        "x-delayed-retry-type",
        "x-retry",
        "x-group-header",
        "x-unique",
        "x-unique-header",
        "x-stream-offset",
        "x-stream-filter",
    )
)
BOOLEANS: Final = frozenset(("x-single-active-consumer", "x-stream-match-unfiltered"))
OF_MESSAGES: Final = frozenset(("x-retry",))  # on a SEND these speak of the message
NAMED_QUEUE: Final = b"x-queue-name"


def arguments_of(headers: Headers, rows: list[Argument], sends: bool) -> Table:
    """Those headers that are arguments. A value that should be a number and is none is left to be refused."""
    found: Table = {}
    for row in rows:
        name = row.name
        if sends and name in OF_MESSAGES:
            continue
        value = value_of(headers, name.encode())
        if value is not None:
            found[name] = argument(name, text_of(value).strip())
    return found


def argument(name: str, text: str) -> object:
    if name in TEXTS:
        return True if name == "x-group-header" and text == "true" else text
    if name in BOOLEANS:
        return text in ("true", "True") if text in ("true", "True", "false", "False") else text
    digits = text[1:] if text[:1] in ("-", "+") else text
    if digits.isdecimal() and digits.isascii() and len(digits) < 19:
        return int(text)
    return text


def is_durable(headers: Headers, default: bool) -> bool:
    """Of a subscription: `persistent` says so, too."""
    return is_true(headers, b"durable", is_true(headers, b"persistent", default))


def ensure_queue(vhost: VHost, place: Place, headers: Headers, owner: object) -> i64:
    """Make the queue that a SEND goes to, if it is one by name and is not there. Returns what that waits for."""
    if place.kind != QUEUE or place.queue in vhost.topology.queues:
        return 0
    durable = is_true(headers, b"durable", True)
    _declare(vhost, place.queue, durable, False, False, headers, owner, True)
    return vhost.position


def _declare(
    vhost: VHost,
    name: str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    headers: Headers,
    owner: object,
    sends: bool,
) -> Queue:
    exclusive = is_true(headers, b"exclusive", exclusive)
    auto_delete = is_true(headers, b"auto-delete", auto_delete)
    if not durable:  # whatever they say
        exclusive = True
        auto_delete = True
    arguments = arguments_of(headers, ARGUMENTS, sends)
    return vhost.declare_queue(name, durable, exclusive, auto_delete, arguments, False, owner)


def queue_for(vhost: VHost, place: Place, headers: Headers, sub_id: bytes | None, owner: object) -> Queue:
    """The queue that a SUBSCRIBE is to; `vhost.position` is what its making waits for."""
    vhost.position = 0
    name = place.queue
    if place.kind == QUEUE:
        if name not in vhost.topology.queues:
            _declare(vhost, name, is_durable(headers, True), False, False, headers, owner, False)
    elif place.kind == TOPIC or place.kind == EXCHANGE:
        return _own_queue(vhost, place, headers, sub_id, owner)
    position = vhost.position
    queue = vhost.queue(name, owner)
    vhost.position = position
    return queue


def _own_queue(vhost: VHost, place: Place, headers: Headers, sub_id: bytes | None, owner: object) -> Queue:
    """A queue for one subscription, bound. It does not stay if it cannot be bound."""
    durable = is_durable(headers, False)
    named = value_of(headers, NAMED_QUEUE)
    if named is not None:
        name = text_of(named)
    elif durable and sub_id is not None:
        name = subscription_queue(place.key.encode("utf-8", "surrogateescape"), sub_id)
    else:
        name = "stomp-subscription-" + secrets.token_urlsafe(16)
    fresh = name not in vhost.topology.queues
    position: i64 = 0
    if fresh:
        _declare(vhost, name, durable, place.kind == EXCHANGE, True, headers, owner, False)
        position = vhost.position
    queue = vhost.queue(name, owner)
    try:
        vhost.bind_queue(name, place.exchange, place.key, {}, owner)
    except Exception:
        if fresh:
            vhost.delete_queue(name, False, False, owner)
        raise
    vhost.position = max(position, vhost.position)
    return queue


def subscription_queue(key: bytes, sub_id: bytes) -> str:
    """The very name that RabbitMQ gives it: of the MD5 of an Erlang tuple of two binaries."""
    term = b"\x83h\x02" + _binary(key) + _binary(sub_id)
    digest = hashlib.md5(term, usedforsecurity=False).digest()
    return "stomp-subscription-" + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _binary(value: bytes) -> bytes:
    return b"m" + len(value).to_bytes(4, "big") + value


def make_reply_queue(conversation: StompConversation, name: str) -> bytes:
    """A queue that is this connection's alone, and consumed at once: what comes has /temp-queue/ and the name as its
    subscription. Returns the queue's name."""
    vhost = conversation.vhost
    assert vhost is not None
    made = "stomp.gen-" + secrets.token_urlsafe(16)
    queue = vhost.declare_queue(made, False, True, True, {}, False, conversation)
    sub_id = b"/temp-queue/" + name.encode("utf-8", "surrogateescape")
    session = session_for(conversation, b"T_" + sub_id, text_of(sub_id))
    subscription = Subscription(session, queue, sub_id, True, False, 0)
    begin(conversation, vhost, subscription)
    return made.encode()


def session_for(conversation: StompConversation, tag: bytes, label: str) -> StompSession:
    """The session of a subscription: the one of its last life, if something of that is unsettled."""
    peer = conversation.peer
    name = tag + b"@@" + conversation.session_id.encode() + b"@@"
    session = peer.subscribers.get(name)
    if session is None:
        conversation.subscriptions += 1
        session = StompSession(peer, conversation.subscriptions, name, label)
        peer.subscribers[name] = session
    elif session.subscription is not None:
        raise FrameRefused(
            "Duplicated subscription identifier", f"A subscription identified by '{label}' already exists.\n"
        )
    else:
        session.mixed = True
    return session


def begin(conversation: StompConversation, vhost: VHost, subscription: Subscription) -> None:
    """Deliver from now on. Raises AccessRefused."""
    session = subscription.stomp_session
    subscription.description = f"'{session.label}'"
    vhost.consume(subscription.queue, subscription)
    session.subscription = subscription
    session.consumers[session.label] = subscription
