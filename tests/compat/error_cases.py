"""Every error that clients match on: what to do, and the code and full text that RabbitMQ 4.3 answers with.

A case is a list of steps, each a method of AMQP 0-9-1 with its arguments under pika's names, so that every
client can play it. "{q}", "{x}" and "{x2}" are names nobody else uses. A step on "other" is done on
a second connection. The last step provokes the error; `scope` says what it closes. "{int}" in a text stands for
the name of the integer type, which is the client's choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    method: str
    args: dict[str, Any]
    on_other: bool = False


@dataclass(frozen=True)
class Case:
    id: str
    code: int
    text: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def scope(self) -> str:
        return "connection" if self.code in HARD else "channel"


HARD = {320, 402, 501, 502, 503, 504, 505, 530, 540, 541}  # AMQP 0-9-1, 1.2: the connection exceptions


def do(method: str, **args: Any) -> Step:
    return Step(method, args)


def other(method: str, **args: Any) -> Step:
    return Step(method, args, on_other=True)


def queue(**args: Any) -> Step:
    return do("queue.declare", queue="{q}", **args)


def exchange(**args: Any) -> Step:
    return do("exchange.declare", **({"exchange": "{x}", "exchange_type": "direct"} | args))


def case(id: str, code: int, text: str, *steps: Step) -> Case:
    return Case(id, code, text, steps)


NO_QUEUE = "NOT_FOUND - no queue '{q}' in vhost '/'"
NO_EXCHANGE = "NOT_FOUND - no exchange '{x}' in vhost '/'"
NO_LAST_QUEUE = "NOT_FOUND - no previously declared queue"
# reply-text is a short string: the text is cut at 255 bytes (RabbitMQ's binary generator cuts and adds dots)
LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{q}' in vhost '/'. It could be originally "
    "declared on another connection or the exclusive property value does not match that of the original declaration."
)
DEFAULT_EXCHANGE = "ACCESS_REFUSED - operation not permitted on the default exchange"
UNKNOWN_TAG = "PRECONDITION_FAILED - unknown delivery tag 99"

NOT_FOUND = [
    case("queue.declare passive", 404, NO_QUEUE, queue(passive=True)),
    case("queue.purge", 404, NO_QUEUE, do("queue.purge", queue="{q}")),
    case("basic.get", 404, NO_QUEUE, do("basic.get", queue="{q}")),
    case("basic.consume", 404, NO_QUEUE, do("basic.consume", queue="{q}")),
    case("queue.bind without queue", 404, NO_QUEUE, do("queue.bind", queue="{q}", exchange="amq.direct")),
    case(
        "queue.bind without exchange",
        404,
        NO_EXCHANGE,
        queue(),
        do("queue.bind", queue="{q}", exchange="{x}"),
    ),
    case("exchange.declare passive", 404, NO_EXCHANGE, exchange(passive=True)),
    case(
        "exchange.bind without source",
        404,
        "NOT_FOUND - no exchange '{x2}' in vhost '/'",
        exchange(),
        do("exchange.bind", destination="{x}", source="{x2}"),
    ),
    case(
        "exchange.bind without destination",
        404,
        NO_EXCHANGE,
        do("exchange.bind", destination="{x}", source="amq.direct"),
    ),
    case("basic.publish", 404, NO_EXCHANGE, do("basic.publish", exchange="{x}", routing_key="k", body="b")),
    case("basic.get of the last queue", 404, NO_LAST_QUEUE, do("basic.get", queue="")),
    case("basic.consume of the last queue", 404, NO_LAST_QUEUE, do("basic.consume", queue="")),
    case("queue.purge of the last queue", 404, NO_LAST_QUEUE, do("queue.purge", queue="")),
    case("queue.delete of the last queue", 404, NO_LAST_QUEUE, do("queue.delete", queue="")),
    case(
        "queue.bind of the last queue", 404, NO_LAST_QUEUE, do("queue.bind", queue="", exchange="amq.direct")
    ),
]


def unequal_queue(
    id: str, argument: str, received: str, current: str, first: dict[str, Any], then: dict[str, Any]
) -> Case:
    text = f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{{q}}' in vhost '/': "
    return case(
        id, 406, text + f"received {received} but current is {current}", queue(**first), queue(**then)
    )


def _unequal_values(received: object, current: object) -> tuple[str, str]:
    """RabbitMQ names the type only where one of the two is absent."""
    if received is None or current is None:
        return _value(received), _value(current)
    return f"'{received}'", f"'{current}'"


def _value(value: object) -> str:
    return "none" if value is None else f"the value '{value}' of type '{{int}}'"


def unequal_argument(argument: str, first: object, then: object) -> Case:
    return unequal_queue(
        f"queue argument {argument} {first!r} then {then!r}",
        argument,
        *_unequal_values(then, first),
        {"arguments": {} if first is None else {argument: first}},
        {"arguments": {} if then is None else {argument: then}},
    )


def unequal_exchange(
    argument: str, received: str, current: str, first: dict[str, Any], then: dict[str, Any]
) -> Case:
    text = f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{{x}}' in vhost '/': "
    return case(
        f"exchange {argument} {current} then {received}",
        406,
        text + f"received {received} but current is {current}",
        exchange(**first),
        exchange(**then),
    )


INEQUIVALENT = [
    unequal_queue("queue durable", "durable", "'true'", "'false'", {}, {"durable": True}),
    unequal_queue("queue not durable", "durable", "'false'", "'true'", {"durable": True}, {}),
    unequal_queue("queue auto-delete", "auto_delete", "'true'", "'false'", {}, {"auto_delete": True}),
    unequal_queue("queue not auto-delete", "auto_delete", "'false'", "'true'", {"auto_delete": True}, {}),
    unequal_argument("x-message-ttl", 1000, 2000),
    unequal_argument("x-message-ttl", None, 2000),
    unequal_argument("x-message-ttl", 1000, None),
    unequal_argument("x-expires", 100_000, 200_000),
    unequal_argument("x-max-length", 10, 20),
    unequal_argument("x-dead-letter-exchange", "one", "two"),
    unequal_argument("x-max-priority", None, 10),
    unequal_exchange("type", "'topic'", "'direct'", {}, {"exchange_type": "topic"}),
    unequal_exchange("durable", "'true'", "'false'", {}, {"durable": True}),
    unequal_exchange("auto_delete", "'true'", "'false'", {}, {"auto_delete": True}),
    unequal_exchange("internal", "'true'", "'false'", {}, {"internal": True}),
    unequal_exchange(
        "alternate-exchange",
        "'b'",
        "'a'",
        {"arguments": {"alternate-exchange": "a"}},
        {"arguments": {"alternate-exchange": "b"}},
    ),
    unequal_exchange(
        "alternate-exchange",
        "the value 'b' of type 'longstr'",
        "none",
        {},
        {"arguments": {"alternate-exchange": "b"}},
    ),
]

LOCKED_CASES = [
    case(f"{step.method} of another's exclusive queue{more}", 405, LOCKED, other_queue, step)
    for other_queue in [other("queue.declare", queue="{q}", exclusive=True)]
    for more, step in [
        ("", queue()),
        (", exclusive", queue(exclusive=True)),
        (", passive", queue(passive=True)),
        ("", do("queue.delete", queue="{q}")),
        ("", do("queue.purge", queue="{q}")),
        ("", do("queue.bind", queue="{q}", exchange="amq.direct")),
        ("", do("basic.get", queue="{q}")),
        ("", do("basic.consume", queue="{q}")),
    ]
] + [
    case("exclusive redeclare of a shared queue", 405, LOCKED, queue(), queue(exclusive=True)),
    case(
        "queue.unbind of another's exclusive queue",
        405,
        LOCKED,
        other("queue.declare", queue="{q}", exclusive=True),
        other("queue.bind", queue="{q}", exchange="amq.direct", routing_key="k"),
        do("queue.unbind", queue="{q}", exchange="amq.direct", routing_key="k"),
    ),
]

REFUSED = [
    case(
        "queue.declare reserved name",
        403,
        "ACCESS_REFUSED - queue name 'amq.{q}' contains reserved prefix 'amq.*'",
        do("queue.declare", queue="amq.{q}"),
    ),
    case(
        "exchange.declare reserved name",
        403,
        "ACCESS_REFUSED - exchange name 'amq.{x}' contains reserved prefix 'amq.*'",
        exchange(exchange="amq.{x}"),
    ),
    case(
        "exchange.delete of amq.direct",
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
        do("exchange.delete", exchange="amq.direct"),
    ),
    case("exchange.declare default", 403, DEFAULT_EXCHANGE, exchange(exchange="")),
    case("exchange.declare default, passive", 403, DEFAULT_EXCHANGE, exchange(exchange="", passive=True)),
    case("exchange.delete default", 403, DEFAULT_EXCHANGE, do("exchange.delete", exchange="")),
    case(
        "queue.bind default",
        403,
        DEFAULT_EXCHANGE,
        queue(),
        do("queue.bind", queue="{q}", exchange="", routing_key="k"),
    ),
    case(
        "queue.unbind default",
        403,
        DEFAULT_EXCHANGE,
        queue(),
        do("queue.unbind", queue="{q}", exchange="", routing_key="{q}"),
    ),
    case(
        "exchange.bind default source",
        403,
        DEFAULT_EXCHANGE,
        exchange(),
        do("exchange.bind", destination="{x}", source=""),
    ),
    case(
        "exchange.bind default destination",
        403,
        DEFAULT_EXCHANGE,
        exchange(),
        do("exchange.bind", destination="", source="{x}"),
    ),
    case(
        "exchange.unbind default source",
        403,
        DEFAULT_EXCHANGE,
        exchange(),
        do("exchange.unbind", destination="{x}", source=""),
    ),
    case(
        "publish to an internal exchange",
        403,
        "ACCESS_REFUSED - cannot publish to internal exchange '{x}' in vhost '/'",
        exchange(internal=True),
        do("basic.publish", exchange="{x}", routing_key="k", body="b"),
    ),
    case(
        "consume of a queue in exclusive use",
        403,
        "ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use",
        queue(),
        other("basic.consume", queue="{q}", exclusive=True),
        do("basic.consume", queue="{q}"),
    ),
    case(
        "exclusive consume of a queue in use",
        403,
        "ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use",
        queue(),
        other("basic.consume", queue="{q}"),
        do("basic.consume", queue="{q}", exclusive=True),
    ),
]

PRECONDITION = [
    case("basic.ack of an unknown tag", 406, UNKNOWN_TAG, do("basic.ack", delivery_tag=99)),
    case(
        "basic.ack multiple of an unknown tag",
        406,
        UNKNOWN_TAG,
        do("basic.ack", delivery_tag=99, multiple=True),
    ),
    case("basic.nack of an unknown tag", 406, UNKNOWN_TAG, do("basic.nack", delivery_tag=99)),
    case("basic.reject of an unknown tag", 406, UNKNOWN_TAG, do("basic.reject", delivery_tag=99)),
    case(
        "basic.ack of tag 0",
        406,
        "PRECONDITION_FAILED - unknown delivery tag 0",
        do("basic.ack", delivery_tag=0),
    ),
    case(
        "basic.ack twice",
        406,
        "PRECONDITION_FAILED - unknown delivery tag 1",
        queue(),
        do("basic.publish", exchange="", routing_key="{q}", body="b"),
        do("basic.get", queue="{q}"),
        do("basic.ack", delivery_tag=1),
        do("basic.ack", delivery_tag=1),
    ),
    case(
        "basic.ack of an auto-acked delivery",
        406,
        "PRECONDITION_FAILED - unknown delivery tag 1",
        queue(),
        do("basic.publish", exchange="", routing_key="{q}", body="b"),
        do("basic.get", queue="{q}", auto_ack=True),
        do("basic.ack", delivery_tag=1),
    ),
    case(
        "tx.select after confirm.select",
        406,
        "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
        do("confirm.select"),
        do("tx.select"),
    ),
    case(
        "confirm.select after tx.select",
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
        do("tx.select"),
        do("confirm.select"),
    ),
    case("tx.commit without tx", 406, "PRECONDITION_FAILED - channel is not transactional", do("tx.commit")),
    case(
        "tx.rollback without tx", 406, "PRECONDITION_FAILED - channel is not transactional", do("tx.rollback")
    ),
    case(
        "queue.delete if-unused",
        406,
        "PRECONDITION_FAILED - queue '{q}' in vhost '/' in use",
        queue(),
        other("basic.consume", queue="{q}"),
        do("queue.delete", queue="{q}", if_unused=True),
    ),
    case(
        "queue.delete if-empty",
        406,
        "PRECONDITION_FAILED - queue '{q}' in vhost '/' not empty",
        queue(),
        do("basic.publish", exchange="", routing_key="{q}", body="b"),
        do("queue.delete", queue="{q}", if_empty=True),
    ),
    case(
        "exchange.delete if-unused",
        406,
        "PRECONDITION_FAILED - exchange '{x}' in vhost '/' in use",
        exchange(),
        queue(),
        do("queue.bind", queue="{q}", exchange="{x}", routing_key="k"),
        do("exchange.delete", exchange="{x}", if_unused=True),
    ),
    case(
        "user-id of another",
        406,
        "PRECONDITION_FAILED - user_id property set to 'mallory' but authenticated user was 'guest'",
        do("basic.publish", exchange="", routing_key="{q}", body="b", properties={"user_id": "mallory"}),
    ),
    case(
        "unknown exchange type",
        406,
        "PRECONDITION_FAILED - unknown exchange type 'nope'",
        exchange(exchange_type="nope"),
    ),
    case(
        "x-match value",
        406,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; '
        "expected all, any, all-with-x, or any-with-x",
        queue(),
        do("queue.bind", queue="{q}", exchange="amq.headers", arguments={"x-match": "some"}),
    ),
    case(
        "x-match type",
        406,
        "PRECONDITION_FAILED - Invalid x-match field type {int} (value 1); expected longstr",
        queue(),
        do("queue.bind", queue="{q}", exchange="amq.headers", arguments={"x-match": 1}),
    ),
    case(
        "alternate-exchange type",
        406,
        "PRECONDITION_FAILED - invalid type '{int}' for arg 'alternate-exchange' in exchange '{x}' in vhost '/'",
        exchange(arguments={"alternate-exchange": 1}),
    ),
    case(
        "expiration that is no number",
        406,
        "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
        do("basic.publish", exchange="", routing_key="{q}", body="b", properties={"expiration": "soon"}),
    ),
    case(
        "queue type",
        406,
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue '{q}' in vhost '/': "
        "\"unsupported queue type 'nope'\"",
        queue(arguments={"x-queue-type": "nope"}),
    ),
    case(
        "x-message-ttl negative",
        406,
        "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue '{q}' in vhost '/': {value_negative,-1}",
        queue(arguments={"x-message-ttl": -1}),
    ),
    case(
        "x-message-ttl type",
        406,
        "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue '{q}' in vhost '/': \"expected integer, got longstr\"",
        queue(arguments={"x-message-ttl": "long"}),
    ),
    case(
        "x-priority type of a consumer",
        406,
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{q}' in vhost '/': \"expected integer, got longstr\"",
        queue(),
        do("basic.consume", queue="{q}", arguments={"x-priority": "high"}),
    ),
]

NOT_ALLOWED = [
    case(
        "consumer tag used twice",
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'tag'",
        queue(),
        do("basic.consume", queue="{q}", consumer_tag="tag"),
        do("basic.consume", queue="{q}", consumer_tag="tag"),
    ),
    case(
        "prefetch-size",
        540,
        "NOT_IMPLEMENTED - prefetch_size!=0 (10)",
        do("basic.qos", prefetch_size=10, prefetch_count=1),
    ),
    case(
        "recover without requeue", 540, "NOT_IMPLEMENTED - requeue=false", do("basic.recover", requeue=False)
    ),
    case("channel.flow stopped", 540, "NOT_IMPLEMENTED - active=false", do("channel.flow", active=False)),
    case(
        "publish immediate",
        540,
        "NOT_IMPLEMENTED - immediate=true",
        do("basic.publish", exchange="", routing_key="{q}", body="b", immediate=True),
    ),
]

CASES = NOT_FOUND + INEQUIVALENT + LOCKED_CASES + REFUSED + PRECONDITION + NOT_ALLOWED


# errors that pika and aiormq do not let an application make
REFUSED_BY_PYTHON_CLIENTS = {"consumer tag used twice"}


def fill(value: Any, names: dict[str, str]) -> Any:
    """`value` with the names put in, all the way down."""
    if isinstance(value, str):
        for key, name in names.items():
            value = value.replace("{" + key + "}", name)
        return value
    if isinstance(value, dict):
        return {key: fill(each, names) for key, each in value.items()}
    return value


def any_integer_type(text: str) -> str:
    """`text` with the names of integer types put back to "{int}"."""
    return re.sub(
        r"\b(byte|short|signedint|long|unsignedbyte|unsignedshort|unsignedint)\b(?!:)", "{int}", text
    )


def cut(text: str) -> str:
    """`text` as it fits a short string (RabbitMQ: the first 252 characters and three dots)."""
    return text if len(text.encode()) <= 255 else text[:252] + "..."
