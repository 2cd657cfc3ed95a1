"""The arguments of queues: a table of all that RabbitMQ 4.3 knows, how it checks each and what Leveret makes of it.

RabbitMQ's check_declare_arguments and assert_args_equivalence (rabbit_amqqueue.erl) in its order and its words. What
the type of queue may not have is refused: never ignored. What RabbitMQ does not know is kept and otherwise ignored,
as there. The reference of all arguments (docs/reference/queues.md) is made of the tables here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from leveret.core.dedup import WINDOW, wrong_window
from leveret.core.destination import Table
from leveret.core.retry import read_policy
from leveret.core.values import INTEGERS, check_equal_argument, type_name, unequal
from leveret.errors import PreconditionFailed
from leveret.limits import DELAY_MAX_MS

HONOURED: Final = "honoured"
OWN: Final = "own"  # honoured, and unknown to RabbitMQ
NO_EFFECT: Final = "no effect"  # accepted: a hint about how RabbitMQ works inside or where in a cluster
REFUSED: Final = "refused"  # of a type of queue that is not there

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
BOTH: Final = "classic quorum"
BOTH_AND_STREAM: Final = "classic quorum stream"

EXPIRY_MAX_MS: Final = DELAY_MAX_MS  # rabbit_misc:check_expiry
PRIORITY_MAX: Final = 255
LOCATORS: Final = frozenset(("client-local", "balanced", "random", "least-leaders", "min-masters"))
OVERFLOWS: Final = frozenset(("drop-head", "reject-publish", "reject-publish-dlx"))
STRATEGIES: Final = frozenset(("at-most-once", "at-least-once"))

# A check of a value: what is wrong with it in the words of RabbitMQ, empty if nothing is.
Check = Callable[[object, Table], str]


def any_value(value: object, arguments: Table) -> str:
    return ""


def integer(value: object, arguments: Table) -> str:
    kind = type_name(value)
    return "" if kind in INTEGERS else f'"expected integer, got {kind}"'


def _number(value: object) -> int:
    """A value that `integer` has nothing against."""
    return value if isinstance(value, int) else 0


def not_negative(value: object, arguments: Table) -> str:
    wrong = integer(value, arguments)
    if not wrong and _number(value) < 0:
        return f"{{value_negative,{value}}}"
    return wrong


def positive(value: object, arguments: Table) -> str:
    wrong = not_negative(value, arguments)
    return "{value_zero,0}" if not wrong and _number(value) == 0 else wrong


def milliseconds(value: object, arguments: Table) -> str:
    wrong = not_negative(value, arguments)
    if not wrong and _number(value) > EXPIRY_MAX_MS:
        return f"{{value_too_large,{value}}}"
    return wrong


def expiry(value: object, arguments: Table) -> str:
    wrong = integer(value, arguments)
    if not wrong and _number(value) == 0:
        return "{value_zero,0}"
    return milliseconds(value, arguments)


def priorities(value: object, arguments: Table) -> str:
    wrong = not_negative(value, arguments)
    if not wrong and _number(value) > PRIORITY_MAX:
        return f"{{max_value_exceeded,{value}}}"
    return wrong


def version_two(value: object, arguments: Table) -> str:
    wrong = not_negative(value, arguments)
    return f"\"unsupported queue version '{value}'\"" if not wrong and value != 2 else wrong


def boolean(value: object, arguments: Table) -> str:
    return "" if isinstance(value, bool) else _unacceptable(value)


def string(value: object, arguments: Table) -> str:
    return "" if isinstance(value, str) else _unacceptable(value)


def routing_key(value: object, arguments: Table) -> str:
    if not isinstance(value, str):
        return _unacceptable(value)
    return "" if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def overflow(value: object, arguments: Table) -> str:
    return _one_of(value, OVERFLOWS, "invalid_overflow")


def strategy(value: object, arguments: Table) -> str:
    return _one_of(value, STRATEGIES, "invalid_dlx_strategy")


def locator(value: object, arguments: Table) -> str:
    return _one_of(value, LOCATORS, "invalid_queue_locator_arg")


def retry_policy(value: object, arguments: Table) -> str:
    wrong = read_policy(value).wrong
    return f'"{wrong}"' if wrong else ""


def group_header(value: object, arguments: Table) -> str:
    if value is True or (isinstance(value, str) and value):
        if _number(arguments.get("x-max-priority")) > 0:
            return '"message groups and priorities exclude each other"'
        return ""
    return '"expected the name of a header, or true for x-group-id"'


def deduplication(value: object, arguments: Table) -> str:
    return wrong_window(value)


def unique(value: object, arguments: Table) -> str:
    return "" if value in ("refuse", "replace") else "\"expected 'refuse' or 'replace'\""


def unique_header(value: object, arguments: Table) -> str:
    if not isinstance(value, str) or not value:
        return '"expected the name of a header"'
    return "" if "x-unique" in arguments else '"x-unique is missing"'


def _one_of(value: object, allowed: frozenset[str], wrong: str) -> str:
    if not isinstance(value, str):
        return _unacceptable(value)
    return "" if value in allowed else wrong


def _unacceptable(value: object) -> str:
    return f"{{unacceptable_type,{type_name(value)}}}"


@final
class Argument:
    """A row. types: of queue that may have it; value, default and meaning are for people."""

    def __init__(
        self, name: str, check: Check, types: str, status: str, value: str, default: str, meaning: str
    ) -> None:
        self.name = name
        self.check = check
        self.types = frozenset(types.split())
        self.status = status
        self.value = value
        self.default = default
        self.meaning = meaning


# In the order in which RabbitMQ checks values (rabbit_amqqueue:declare_args), then those whose value it does not
# check. The types are the queue_arguments in the capabilities/0 of each type.
ARGUMENTS: Final = [
    Argument(
        "x-queue-type", string, BOTH_AND_STREAM, HONOURED, "`classic`, `quorum`", "`classic`",
        "which arguments it may have, and what counts as a failed delivery; both are the same durable queue on one node",
    ),
    Argument(
        "x-expires", expiry, BOTH, HONOURED, "1 ms to 10 years", "never",
        "the queue is deleted when it was not used for so long: no consumer, no declaration, no get",
    ),
    Argument(
        "x-message-ttl", milliseconds, BOTH, HONOURED, "0 ms to 10 years", "for ever",
        "how long a message may wait, counted from when it was published, over restarts too",
    ),
    Argument(
        "x-dead-letter-exchange", string, BOTH, HONOURED, "a name; empty for the default exchange", "none",
        "where messages go that were rejected, expired, were too many or failed too often; without it they are dropped",
    ),
    Argument(
        "x-dead-letter-routing-key", routing_key, BOTH, HONOURED, "a text", "their own keys",
        "with which key; wants `x-dead-letter-exchange`",
    ),
    Argument(
        "x-dead-letter-strategy", strategy, QUORUM, HONOURED, "`at-most-once`, `at-least-once`", "`at-most-once`",
        "at-least-once, together with `x-overflow` `reject-publish`: a dead letter that no queue takes is kept and tried"
        " again; without it, as at-most-once",
    ),
    Argument("x-max-length", not_negative, BOTH, HONOURED, "a number of messages", "any", "most messages that may wait"),
    Argument(
        "x-max-length-bytes", not_negative, BOTH_AND_STREAM, HONOURED, "bytes of bodies", "any",
        "most bytes that may wait",
    ),
    Argument("x-max-in-memory-length", not_negative, QUORUM, NO_EFFECT, "0 or more", "", "unused, as in RabbitMQ"),
    Argument("x-max-in-memory-bytes", not_negative, QUORUM, NO_EFFECT, "0 or more", "", "unused, as in RabbitMQ"),
    Argument(
        "x-max-priority", priorities, CLASSIC, HONOURED, "0 to 255", "0",
        "messages of a higher `priority` come first; what is above the number counts as it",
    ),
    Argument(
        "x-overflow", overflow, BOTH, HONOURED, "`drop-head`, `reject-publish`, `reject-publish-dlx`", "`drop-head`",
        "what a full queue does: drop (or dead-letter) what is oldest, refuse what comes (the publisher gets a nack), or"
        " refuse and dead-letter it",
    ),
    Argument("x-queue-version", version_two, CLASSIC, NO_EFFECT, "2", "", "file format of RabbitMQ"),
    Argument(
        "x-single-active-consumer", boolean, BOTH, HONOURED, "true, false", "false",
        "one consumer gets everything, and another takes over when it goes",
    ),
    Argument(
        "x-consumer-timeout", not_negative, QUORUM, HONOURED, "ms; 0 for any time", "`consumer_timeout_ms`",
        "in which its consumers have to settle what they get",
    ),
    Argument(
        "x-consumer-disconnected-timeout", not_negative, QUORUM, NO_EFFECT, "ms", "", "for a node that is away"
    ),
    Argument("x-quorum-initial-group-size", positive, QUORUM, NO_EFFECT, "1 or more", "", "number of replicas"),
    Argument("x-max-age", any_value, STREAM, REFUSED, "", "", "of streams"),
    Argument("x-stream-max-segment-size-bytes", not_negative, STREAM, REFUSED, "", "", "of streams"),
    Argument("x-stream-filter-size-bytes", not_negative, STREAM, REFUSED, "", "", "of streams"),
    Argument("x-initial-cluster-size", positive, STREAM, REFUSED, "", "", "of streams"),
    Argument(
        "x-queue-leader-locator", locator, BOTH_AND_STREAM, NO_EFFECT,
        "`client-local`, `balanced`, `random`, `least-leaders`, `min-masters`", "", "place in a cluster",
    ),
    Argument("x-queue-mode", any_value, CLASSIC, NO_EFFECT, "any", "", "`lazy`: every queue of Leveret pages"),
    Argument("x-queue-master-locator", any_value, CLASSIC, NO_EFFECT, "any", "", "place in a cluster"),
    Argument(
        "x-delivery-limit", any_value, QUORUM, HONOURED, "a number; negative for no limit; what is none is ignored",
        "20", "how many deliveries of a message may fail before it is dead",
    ),
    Argument(
        "x-delayed-retry-type", any_value, QUORUM, HONOURED, "`all`, `failed`, `returned`; anything else is ignored",
        "none", "which returned messages wait before they are ready again",
    ),
    Argument(
        "x-delayed-retry-min", any_value, QUORUM, HONOURED, "ms above 0; else there is no delay", "none",
        "how long, times the failed deliveries",
    ),
    Argument(
        "x-delayed-retry-max", any_value, QUORUM, HONOURED, "ms above 0", "the least", "and how long at most"
    ),
    # Leveret's own
    Argument(
        "x-retry", retry_policy, BOTH, OWN,
        "a text such as `exponential;delay=1s;max-delay=1m;max=5`, or a table of these", "none",
        "what failed is tried again after a delay, so many times",
    ),
    Argument(
        "x-group-header", group_header, BOTH, OWN, "the name of a header; true for `x-group-id`", "none",
        "messages with one value of this header go to one consumer at a time, in order",
    ),
    Argument(
        "x-message-deduplication", deduplication, BOTH, OWN,
        "ms or a text such as `10m`, up to 10 years; or a table of `window` (that), `header` and `size` (keys)",
        "none; the message-id; 100,000 keys", "a second message with the same key is not taken within so long",
    ),
    Argument(
        "x-unique", unique, BOTH, OWN, "`refuse`, `replace`", "none",
        "a message with the key of one that waits is refused, or takes its place",
    ),
    Argument(
        "x-unique-header", unique_header, BOTH, OWN, "the name of a header", "the message-id",
        "which header that key is; wants `x-unique`",
    ),
]  # fmt: skip


# Leveret's own that would do nothing elsewhere: nobody is to believe that they did.
QUEUES_ONLY: Final = [row.name for row in ARGUMENTS if row.status == OWN and row.name != WINDOW]

# Of consumers (rabbit_amqqueue:consume_args, and the consumer_arguments of each type).
CONSUMER_ARGUMENTS: Final = [
    Argument(
        "x-priority", integer, BOTH_AND_STREAM, HONOURED, "a whole number", "0",
        "the highest is served first, those below while it has no credit",
    ),
    Argument(
        "x-consumer-timeout", not_negative, QUORUM, HONOURED, "ms; 0 for any time", "the queue's",
        "in which to settle what it gets",
    ),
    Argument("x-stream-offset", any_value, STREAM, REFUSED, "", "", "of streams"),
    Argument("x-stream-filter", any_value, STREAM, REFUSED, "", "", "of streams"),
    Argument("x-stream-match-unfiltered", any_value, STREAM, REFUSED, "", "", "of streams"),
]  # fmt: skip


def queue_type_of(arguments: Table) -> str:
    """The type a declaration asks for; it may be one that nobody knows."""
    asked = arguments.get("x-queue-type")
    if isinstance(asked, str) and asked not in ("", "undefined"):  # rabbit_queue_type:discover
        return asked
    return CLASSIC


def check_queue(arguments: Table, what: str, durable: bool, exclusive: bool, auto_delete: bool) -> str:
    """A new queue's arguments and what goes with its type. what: the queue as texts name it. Returns the type.

    Raises PreconditionFailed.
    """
    name = "x-dead-letter-exchange"
    if name in arguments and not isinstance(arguments[name], str):  # rabbit_misc:r_arg, before all else
        raise PreconditionFailed(f"invalid type '{type_name(arguments[name])}' for arg '{name}' in {what}")
    asked = arguments.get("x-queue-type", CLASSIC)
    if not isinstance(asked, str):
        raise _invalid("x-queue-type", what, _unacceptable(asked))
    queue_type = queue_type_of(arguments)
    if queue_type != CLASSIC and queue_type != QUORUM:
        raise _invalid("x-queue-type", what, f"\"unsupported queue type '{queue_type}'\"")
    if not arguments:
        return queue_type
    _check_rows(ARGUMENTS, arguments, queue_type, what)
    if queue_type == QUORUM:
        _check_quorum(what, durable, exclusive, auto_delete)
    return queue_type


def _check_quorum(what: str, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """rabbit_quorum_queue:declare."""
    wrong = ""
    if auto_delete:
        wrong = "auto-delete"
    elif exclusive:
        wrong = "exclusive-owner"
    elif not durable:
        wrong = "non-durable"
    if wrong:
        raise PreconditionFailed(f"invalid property '{wrong}' for {what}")


def check_equivalent(received: Table, current: Table, current_type: str, what: str) -> None:
    """The arguments of a declaration of a queue that is there: those that its type has must be the same."""
    if not received and not current:
        return
    for row in ARGUMENTS:
        if current_type not in row.types:
            continue
        if row.name == "x-queue-type":
            asked = received.get(row.name, queue_type_of(received))
            if asked != current_type and asked != current.get(row.name):
                raise unequal(row.name, what, f"'{asked}'", f"'{current_type}'")
        else:
            check_equal_argument(received, current, row.name, what)


def check_consumer(arguments: Table, queue_type: str, what: str) -> None:
    """A consumer's arguments. queue_type, what: of its queue. Raises PreconditionFailed."""
    if arguments:
        _check_rows(CONSUMER_ARGUMENTS, arguments, queue_type, what)


def _check_rows(rows: list[Argument], arguments: Table, queue_type: str, what: str) -> None:
    for row in rows:
        if row.name in arguments and queue_type in row.types:
            wrong = row.check(arguments[row.name], arguments)
            if wrong:
                raise _invalid(row.name, what, wrong)
    for row in rows:
        if row.name in arguments and queue_type not in row.types:
            raise PreconditionFailed(
                f"invalid arg '{row.name}' for {what} of queue type rabbit_{queue_type}_queue"
            )


def _invalid(name: str, what: str, wrong: str) -> PreconditionFailed:
    return PreconditionFailed(f"invalid arg '{name}' for {what}: {wrong}")
