"""The arguments of queues: a table of all that RabbitMQ 4.3 knows, how it checks each and what Leveret makes of it.

RabbitMQ's check_declare_arguments and assert_args_equivalence (rabbit_amqqueue.erl) in its order and its words. Of
an argument that RabbitMQ honours and Leveret does not, the declaration is refused: never ignored. What RabbitMQ does
not know is kept and otherwise ignored, as there. To honour another argument, change its row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from leveret.core.dedup import wrong_window
from leveret.core.destination import Table
from leveret.core.retry import read_policy
from leveret.core.values import INTEGERS, check_equal_argument, type_name, unequal
from leveret.errors import PreconditionFailed

HONOURED: Final = "honoured"
OWN: Final = "own"  # honoured, and unknown to RabbitMQ
NO_EFFECT: Final = "no effect"  # accepted: a hint about how RabbitMQ works inside or where in a cluster
NOT_YET: Final = "not yet"  # refused

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"

EXPIRY_MAX_MS: Final = 315_360_000_000  # rabbit_misc:check_expiry: ten years
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
    """A row. types: of queue that may have it; default: the value that asks for nothing, so that it is accepted in
    any case (None: there is none)."""

    def __init__(
        self, name: str, check: Check, types: str, status: str, meaning: str, default: object | None = None
    ) -> None:
        self.name = name
        self.check = check
        self.types = frozenset(types.split())
        self.status = status
        self.meaning = meaning
        self.default = default


# In the order in which RabbitMQ checks values (rabbit_amqqueue:declare_args), then those whose value it does not
# check. The types are the queue_arguments in the capabilities/0 of each type.
ARGUMENTS: Final = [
    Argument("x-queue-type", string, "classic quorum stream", HONOURED, "classic or quorum"),
    Argument("x-expires", expiry, "classic quorum", HONOURED, "delete the queue when unused so many ms"),
    Argument(
        "x-message-ttl",
        milliseconds,
        "classic quorum",
        HONOURED,
        "how long a message may wait, ms, from when it was published, over restarts too",
    ),
    Argument("x-dead-letter-exchange", string, "classic quorum", HONOURED, "where dead messages go"),
    Argument("x-dead-letter-routing-key", routing_key, "classic quorum", HONOURED, "and with which key"),
    Argument(
        "x-dead-letter-strategy",
        strategy,
        "quorum",
        HONOURED,
        "at-most-once, or at-least-once (with x-overflow reject-publish): what no queue takes is kept and tried again",
    ),
    Argument("x-max-length", not_negative, "classic quorum", HONOURED, "most messages that may wait"),
    Argument(
        "x-max-length-bytes", not_negative, "classic quorum stream", HONOURED, "most bytes that may wait"
    ),
    Argument("x-max-in-memory-length", not_negative, "quorum", NO_EFFECT, "unused, as in RabbitMQ"),
    Argument("x-max-in-memory-bytes", not_negative, "quorum", NO_EFFECT, "unused, as in RabbitMQ"),
    Argument("x-max-priority", priorities, "classic", HONOURED, "number of priorities"),
    Argument("x-overflow", overflow, "classic quorum", HONOURED, "what a full queue does"),
    Argument("x-queue-version", version_two, "classic", NO_EFFECT, "file format of RabbitMQ"),
    Argument("x-single-active-consumer", boolean, "classic quorum", HONOURED, "one consumer gets all"),
    Argument(
        "x-consumer-timeout", not_negative, "quorum", HONOURED, "ms in which to acknowledge; 0: any time"
    ),
    Argument("x-consumer-disconnected-timeout", not_negative, "quorum", NO_EFFECT, "for a node that is away"),
    Argument("x-quorum-initial-group-size", positive, "quorum", NO_EFFECT, "number of replicas"),
    Argument("x-max-age", any_value, "stream", NOT_YET, "of streams"),
    Argument("x-stream-max-segment-size-bytes", not_negative, "stream", NOT_YET, "of streams"),
    Argument("x-stream-filter-size-bytes", not_negative, "stream", NOT_YET, "of streams"),
    Argument("x-initial-cluster-size", positive, "stream", NOT_YET, "of streams"),
    Argument("x-queue-leader-locator", locator, "classic quorum stream", NO_EFFECT, "place in a cluster"),
    Argument("x-queue-mode", any_value, "classic", NO_EFFECT, "lazy: every queue of Leveret pages"),
    Argument("x-queue-master-locator", any_value, "classic", NO_EFFECT, "place in a cluster"),
    Argument(
        "x-delivery-limit",
        any_value,
        "quorum",
        HONOURED,
        "how many deliveries may fail before a message is dead; 20 if it is not given, negative for no limit",
    ),
    Argument(
        "x-delayed-retry-type",
        any_value,
        "quorum",
        HONOURED,
        "all, failed or returned: which returned messages wait before they are ready again",
    ),
    Argument(
        "x-delayed-retry-min", any_value, "quorum", HONOURED, "how long, ms, times the failed deliveries"
    ),
    Argument("x-delayed-retry-max", any_value, "quorum", HONOURED, "and how long at most, ms"),
    # Leveret's own
    Argument(
        "x-retry",
        retry_policy,
        "classic quorum",
        OWN,
        "what failed is tried again later: a table or a text such as exponential;delay=1s;max-delay=1m;max=5",
    ),
    Argument(
        "x-group-header",
        group_header,
        "classic quorum",
        OWN,
        "messages with one value of this header go to one consumer at a time, in order; true: x-group-id",
    ),
    Argument(
        "x-message-deduplication",
        deduplication,
        "classic quorum",
        OWN,
        "ms in which a second message with the same message-id is not taken; or a table of window, header and size",
    ),
    Argument(
        "x-unique",
        unique,
        "classic quorum",
        OWN,
        "a message with the key of one that waits is refused (refuse) or takes its place (replace)",
    ),
    Argument(
        "x-unique-header",
        unique_header,
        "classic quorum",
        OWN,
        "the header that is that key; default: message-id",
    ),
]


# Of consumers (rabbit_amqqueue:consume_args, and the consumer_arguments of each type).
CONSUMER_ARGUMENTS: Final = [
    Argument("x-priority", integer, "classic quorum stream", HONOURED, "who is served first: the highest"),
    Argument(
        "x-consumer-timeout", not_negative, "quorum", HONOURED, "ms in which to acknowledge; 0: any time"
    ),
    Argument("x-stream-offset", any_value, "stream", NOT_YET, "of streams"),
    Argument("x-stream-filter", any_value, "stream", NOT_YET, "of streams"),
    Argument("x-stream-match-unfiltered", any_value, "stream", NOT_YET, "of streams"),
]


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


def _check_supported(row: Argument, value: object, queue_type: str, what: str) -> None:
    if queue_type not in row.types:
        raise PreconditionFailed(
            f"invalid arg '{row.name}' for {what} of queue type rabbit_{queue_type}_queue"
        )
    if row.status == NOT_YET and (row.default is None or value != row.default):
        raise PreconditionFailed(f"arg '{row.name}' for {what} is not supported by this version of Leveret")


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
            queue_type = queue_type_of(received)
            if queue_type != current_type:
                raise unequal(row.name, what, f"'{queue_type}'", f"'{current_type}'")
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
        if row.name in arguments:
            _check_supported(row, arguments[row.name], queue_type, what)


def _invalid(name: str, what: str, wrong: str) -> PreconditionFailed:
    return PreconditionFailed(f"invalid arg '{name}' for {what}: {wrong}")
