"""What the commands of a client do, but for SEND: arguments from the headers, a command to the virtual host, the receipt.

One function for each command. Errors are raised, in RabbitMQ's words where it has some (rabbit_stomp_processor), and end
the connection. A receipt is owed once the frame is done with, and given when what it changed is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from leveret import limits
from leveret.core.arguments import CONSUMER_ARGUMENTS, check_consumer
from leveret.core.destination import named
from leveret.core.vhost import VHost
from leveret.errors import FrameRefused
from leveret.message import ACCEPTED, DISCARDED, RELEASED
from leveret.native import i64
from leveret.protocol.stomp.destinations import TEMP_QUEUE, TOPIC, parse
from leveret.protocol.stomp.mapping import is_true, text_of
from leveret.protocol.stomp.queues import arguments_of, begin, is_durable, queue_for, session_for
from leveret.protocol.stomp.session import StompSession
from leveret.protocol.stomp.subscription import Subscription
from leveret.protocol.stomp.tx import StompTransaction
from leveret.wire.stomp import digits_of
from leveret.wire.stomp_headers import STOMP_12, Headers, escape, shown, value_of

if TYPE_CHECKING:
    from leveret.protocol.stomp.connection import StompConversation

Handler = Callable[["StompConversation", Headers], None]

SETTLING: Final = (b"ACK", b"NACK")  # besides SEND, what may be in a transaction
MODES: Final = (b"auto", b"client", b"client-individual")
TEMP: Final = b"/temp-queue/"
TRANSACTIONS: Final[i64] = limits.TRANSACTIONS_PER_CONNECTION


def dispatch(conversation: StompConversation, command: bytes, headers: Headers) -> None:
    """Do what a frame says. Raises what is against it."""
    if conversation.is_opening():
        if command not in (b"CONNECT", b"STOMP"):
            raise FrameRefused("Illegal command", "You must log in using CONNECT first\n")
        conversation.connect(headers)
        return
    if command == b"DISCONNECT":
        conversation.disconnect(value_of(headers, b"receipt"))
        return
    handler = HANDLERS.get(command)
    if handler is None:
        refuse(command)
        return
    handler(conversation, headers)
    receipt = value_of(headers, b"receipt")
    if receipt is not None:
        peer = conversation.peer
        name = value_of(headers, b"transaction") if command in SETTLING else None
        if name is not None:
            conversation.transaction(name).owe(escape(receipt, peer.version), False)
        else:
            peer.receipts.add(escape(receipt, peer.version), peer.position)


def refuse(command: bytes) -> None:
    text = command.decode("utf-8", "backslashreplace")
    if command in (b"CONNECT", b"STOMP"):
        raise FrameRefused("Bad command", f"{text}: this connection is logged in already\n")
    raise FrameRefused("Bad command", f'Could not interpret command "{text}"\n')


def message_refused() -> FrameRefused:
    """What a SEND that asked for a receipt gets instead."""
    return FrameRefused(
        "Message refused",
        "a queue that the destination leads to did not take the message: it is full, or a message with the same key "
        "waits in it\n",
    )


def vhost_of(conversation: StompConversation) -> VHost:
    vhost = conversation.vhost
    assert vhost is not None
    return vhost


def waits_for(conversation: StompConversation, position: i64) -> None:
    """The receipt of this frame, and those of later ones, come when this is on disk."""
    if position > conversation.peer.position:
        conversation.peer.position = position


# ---- subscriptions


def subscribe(conversation: StompConversation, headers: Headers) -> None:
    vhost = vhost_of(conversation)
    sub_id, tag, label = identify(conversation, headers, "SUBSCRIBE")
    destination = value_of(headers, b"destination")
    if destination is None:
        raise FrameRefused("Missing destination", "SUBSCRIBE must include a 'destination' header\n")
    check_durable(headers, sub_id)
    if value_of(headers, b"selector") is not None:
        raise FrameRefused(
            "Selectors are not supported",
            "SUBSCRIBE with a 'selector' would get other messages than it asks for: leave it out, and use topics, or "
            "bind a queue to a headers exchange\n",
        )
    place = parse(destination, conversation.settings.style)
    if place.kind == TEMP_QUEUE:
        text = f"'{text_of(destination)}' is not a valid destination for 'SUBSCRIBE'\n"
        raise FrameRefused(
            "Invalid destination", text + "It is one for reply-to: what comes there needs no SUBSCRIBE\n"
        )
    mode = value_of(headers, b"ack")
    if mode is None:
        mode = b"auto"
    if mode not in MODES:
        raise FrameRefused(
            "Invalid header", f"'ack' is auto, client or client-individual, not {shown(mode)}\n"
        )
    prefetch = number(headers, b"prefetch-count")
    session = session_for(conversation, tag, label)
    try:
        queue = queue_for(vhost, place, headers, sub_id, conversation)
        position = vhost.position
        arguments = arguments_of(headers, CONSUMER_ARGUMENTS, False)
        check_consumer(arguments, queue.queue_type, named("queue", queue.name, vhost.name))
        subscription = Subscription(session, queue, sub_id, mode == b"auto", mode == b"client", prefetch)
        subscription.arguments = arguments
        subscription.is_topic = place.kind == TOPIC
        begin(conversation, vhost, subscription)
    finally:
        forget_settled(conversation, session)
    waits_for(conversation, position)


def unsubscribe(conversation: StompConversation, headers: Headers) -> None:
    vhost = vhost_of(conversation)
    sub_id, tag, label = identify(conversation, headers, "UNSUBSCRIBE")
    check_durable(headers, sub_id)
    name = tag + b"@@" + conversation.session_id.encode() + b"@@"
    session = conversation.peer.subscribers.get(name)
    subscription = None if session is None else session.subscription
    if session is None or subscription is None:
        raise FrameRefused(
            "No subscription found",
            f"UNSUBSCRIBE must refer to an existing subscription.\nSubscription to '{label}' not found.\n",
        )
    session.subscription = None
    session.consumers.clear()
    conversation.peer.expect_acks(None)
    queue = subscription.queue
    vhost.position = 0
    vhost.cancel(subscription)
    if subscription.is_topic and is_durable(headers, False) and not queue.gone:
        vhost.delete_queue(queue.name, False, False, conversation)
    waits_for(conversation, vhost.position)
    forget_settled(conversation, session)


def identify(
    conversation: StompConversation, headers: Headers, command: str
) -> tuple[bytes | None, bytes, str]:
    """Which subscription it is: its id, if it has one; how ids of its messages begin; and for people."""
    sub_id = value_of(headers, b"id")
    if sub_id is not None:
        if sub_id.startswith(TEMP):
            raise FrameRefused("Invalid id", f"{command} 'id' may not start with {TEMP.decode()}\n")
        return sub_id, b"T_" + sub_id, text_of(sub_id)
    destination = value_of(headers, b"destination")
    if destination is None:
        raise FrameRefused(
            "Missing destination or id", f"{command} must include a 'destination' or 'id' header\n"
        )
    return None, b"Q_" + destination, text_of(destination)


def check_durable(headers: Headers, sub_id: bytes | None) -> None:
    if sub_id is None and is_durable(headers, False):
        raise FrameRefused("Missing Header", "Header 'id' is required for durable subscriptions\n")


def forget_settled(conversation: StompConversation, session: StompSession) -> None:
    """A session without a subscription is kept for what is unsettled in it."""
    if session.subscription is None and session.out == 0 and not has_settled_in_tx(conversation, session):
        conversation.peer.subscribers.pop(session.name, None)


def has_settled_in_tx(conversation: StompConversation, session: StompSession) -> bool:
    """Whether a transaction may give something back to it."""
    for tx in conversation.transactions.values():
        for s in tx.settlements:
            if s.session is session:
                return True
    return False


def number(headers: Headers, name: bytes) -> i64:
    """A whole number, 0 if it is not there."""
    value = value_of(headers, name)
    if value is None:
        return 0
    found = digits_of(value.strip())
    if found < 0:
        raise FrameRefused("Invalid header", f"'{text_of(name)}' is a whole number, not {shown(value)}\n")
    return found


# ---- settling


def ack(conversation: StompConversation, headers: Headers) -> None:
    settle(conversation, headers, "ACK", ACCEPTED)


def nack(conversation: StompConversation, headers: Headers) -> None:
    settle(conversation, headers, "NACK", RELEASED if is_true(headers, b"requeue", True) else DISCARDED)


def settle(conversation: StompConversation, headers: Headers, command: str, outcome: i64) -> None:
    peer = conversation.peer
    name = b"id" if peer.version >= STOMP_12 else b"message-id"
    told = value_of(headers, name)
    if told is None:
        raise FrameRefused("Missing header", f"{command} must include the '{text_of(name)}' header\n")
    tx: StompTransaction | None = None
    transaction = value_of(headers, b"transaction")
    if transaction is not None:
        tx = conversation.transaction(transaction)
    settle_one(conversation, told, tx, outcome, command)


def settle_one(
    conversation: StompConversation, told: bytes, tx: StompTransaction | None, outcome: i64, command: str
) -> None:
    """told: the id of a MESSAGE."""
    at: i64 = told.rfind(b"@@") + 2
    tag = digits_of(told[at:])
    if at < 2 or tag < 0:
        raise FrameRefused(
            "Invalid header", f"{command} must include a valid id of a message, not {shown(told)}\n"
        )
    session = conversation.peer.subscribers.get(told[:at])
    done = False
    if session is not None:
        multiple = is_cumulative(session, tag)
        if tx is not None:
            done = tx.settle(session, tag, multiple, outcome)
        else:
            done = session.settle(tag, multiple, outcome)
            if session.subscription is None:
                forget_settled(conversation, session)
    if session is None or not done:
        raise FrameRefused("Message not found", f"unknown delivery tag {shown(told)}\n")
    if session.subscription is not None and not session.mixed:
        conversation.peer.expect_acks(session)


def is_cumulative(session: StompSession, tag: i64) -> bool:
    """Whether the subscription that this delivery went to settles all up to it at once."""
    subscription = session.subscription
    consumer = session.consumer_of(tag)
    if isinstance(consumer, Subscription):
        return consumer.cumulative
    return subscription is not None and subscription.cumulative


# ---- transactions


def transaction_name(headers: Headers, command: str) -> bytes:
    name = value_of(headers, b"transaction")
    if name is None:
        raise FrameRefused("Missing transaction", f"{command} must include a 'transaction' header\n")
    return name


def begin_transaction(conversation: StompConversation, headers: Headers) -> None:
    name = transaction_name(headers, "BEGIN")
    if name in conversation.transactions:
        raise FrameRefused("Bad transaction", f"{shown(name)} has begun already\n")
    if len(conversation.transactions) >= TRANSACTIONS:
        raise FrameRefused(
            "Transaction limit exceeded", f"Too many concurrent transactions (limit {int(TRANSACTIONS)})\n"
        )
    conversation.transactions[name] = StompTransaction(conversation)


def commit(conversation: StompConversation, headers: Headers) -> None:
    name = transaction_name(headers, "COMMIT")
    tx = conversation.transaction(name)
    del conversation.transactions[name]
    waits_for(conversation, tx.commit(conversation.peer.turn.journal))
    done = tx.give_receipts()
    forget_all_settled(conversation)
    if not done:
        raise message_refused()


def abort(conversation: StompConversation, headers: Headers) -> None:
    name = transaction_name(headers, "ABORT")
    tx = conversation.transaction(name)
    del conversation.transactions[name]
    tx.rollback()  # the receipts of what was in it are given to nobody


def forget_all_settled(conversation: StompConversation) -> None:
    for session in list(conversation.peer.subscribers.values()):
        forget_settled(conversation, session)


HANDLERS: Final[dict[bytes, Handler]] = {
    b"SUBSCRIBE": subscribe,
    b"UNSUBSCRIBE": unsubscribe,
    b"ACK": ack,
    b"NACK": nack,
    b"BEGIN": begin_transaction,
    b"COMMIT": commit,
    b"ABORT": abort,
}
