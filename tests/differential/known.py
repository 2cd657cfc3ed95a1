"""The differences that are meant, or are RabbitMQ's own between its versions. Each is as narrow as can be said, and
stands in docs/reference/compatibility.md by its id.

An entry that `ends` a scenario's comparison does so because the states of the brokers are not the same after it;
the run counts how often, so that nothing hides behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import Difference


@dataclass(frozen=True)
class Known:
    id: str
    reason: str
    test: Callable[[Difference], bool]
    versions: tuple[str, ...] = ("3.10", "4.3")
    ends: bool = True

    def matches(self, difference: Difference) -> bool:
        return self.test(difference)


def close_texts(difference: Difference) -> tuple[str, str]:
    """The texts of the closes on the left and on the right, "" where there is none."""
    return _close_text(difference.left), _close_text(difference.right)


def _close_text(events: list[Any] | None) -> str:
    for event in events or []:
        if event.get("method") in ("channel.close", "connection.close"):
            return str(event["reply_text"])
    return ""


def _quorum_consumers(difference: Difference) -> bool:
    """Only numbers of consumers, and only of quorum queues."""
    quorum = difference.quorum_queues()
    if difference.stream == "queues" and difference.left and difference.right:
        ours, theirs = difference.left[0], difference.right[0]
        differing = [name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)]
        return all(
            name in quorum and name in ours and name in theirs and ours[name][0] == theirs[name][0]
            for name in differing
        )
    return _same_but(difference, "queue.declare-ok", "consumer_count") and all(
        event["queue"] in quorum for event in difference.left or [] if "consumer_count" in event
    )


def _same_but(difference: Difference, method: str, key: str) -> bool:
    """The same events, but for one argument of one method."""
    left, right = difference.left or [], difference.right or []
    return len(left) == len(right) and all(
        ours == theirs
        or (ours.get("method") == theirs.get("method") == method and ours | {key: theirs[key]} == theirs)
        for ours, theirs in zip(left, right, strict=True)
    )


def _reply_to_nobody(difference: Difference) -> bool:
    """A mandatory reply comes back to who sent it, and RabbitMQ says nothing."""
    left = list(difference.left or [])
    returns = [event for event in left if event.get("method") == "basic.return"]
    return (
        difference.op.kind == "basic.publish"
        and difference.op.args["routing_key"] == "$reply-to"
        and len(returns) == 1
        and [event for event in left if event not in returns] == (difference.right or [])
    )


def _counts_begin_anew(difference: Difference) -> bool:
    """A dead letter is new to its queue: not redelivered, and without the counts of the queue where it died."""
    left, right = difference.left or [], difference.right or []
    return len(left) == len(right) and all(_but_for_counts(*pair) for pair in zip(left, right, strict=True))


def _but_for_counts(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    if ours == theirs:
        return True
    if (
        "x-death" not in theirs.get("properties", {}).get("headers", {})
        or theirs.get("redelivered") is not True
    ):
        return False
    return _without_counts(ours) == _without_counts(theirs)


def _without_counts(event: dict[str, Any]) -> dict[str, Any]:
    properties = dict(event["properties"])
    counts = ("x-delivery-count", "x-acquired-count")
    properties["headers"] = {key: each for key, each in properties["headers"].items() if key not in counts}
    return event | {"redelivered": True, "properties": properties}


_LATER_HEADERS = {"x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"}


def _later_headers(difference: Difference) -> bool:
    """What later versions changed in dead letters: headers, the order of deaths, and that CC stays with a new key."""
    left, right = difference.left or [], difference.right or []
    return len(left) == len(right) and all(
        _without_later(ours) == _without_later(theirs) for ours, theirs in zip(left, right, strict=True)
    )


def _without_later(event: dict[str, Any]) -> dict[str, Any]:
    headers = event.get("properties", {}).get("headers")
    if headers is None or "x-death" not in headers:
        return event
    kept = {key: each for key, each in headers.items() if key not in _LATER_HEADERS and key != "CC"}
    letter, deaths = kept["x-death"]
    kept["x-death"] = [letter, sorted(deaths, key=lambda death: json.dumps(death, sort_keys=True))]
    return event | {"properties": event["properties"] | {"headers": kept}}


def _exclusive_of_quorum(difference: Difference) -> bool:
    """A consumer is refused since it, or another one, is exclusive."""
    return (
        difference.op.kind == "basic.consume"
        and difference.op.args["queue"] in difference.quorum_queues()
        and close_texts(difference)[0].endswith("in exclusive use")
        and [event.get("method") for event in difference.right or []] == ["basic.consume-ok"]
    )


def _requeued_to_a_full_queue(difference: Difference) -> bool:
    """What comes back to a queue that drops its head is dropped first, or handed out first."""
    limits = {"x-max-length", "x-max-length-bytes"}
    full = any(
        limits & set(op.args.get("arguments", {}))
        and "reject" not in str(op.args["arguments"].get("x-overflow"))
        for op in difference.ops
    )
    back = difference.op.kind in ("basic.nack", "basic.reject") and difference.op.args.get("requeue")
    bodies = [[event.get("body") for event in side or []] for side in (difference.left, difference.right)]
    return bool(full and back and " deliveries to " in difference.stream and bodies[0] != bodies[1])


def _within_a_transaction(difference: Difference) -> bool:
    """The same deliveries, in another order."""
    bodies = [
        sorted(event.get("body", "") for event in side or []) for side in (difference.left, difference.right)
    ]
    return (
        difference.op.kind == "tx.commit"
        and " deliveries to " in difference.stream
        and bodies[0] == bodies[1] != [""]
    )


def _falls_over(difference: Difference) -> bool:
    """A passive declaration of a reply queue that was never one."""
    return difference.op.args.get("queue") == "$reply-to" and close_texts(difference)[1] == "INTERNAL_ERROR"


def _bodies(streams: dict[str, list[Any]]) -> dict[str, list[str]]:
    """What each consumer was given in a step, or got."""
    found = {}
    for stream, events in streams.items():
        bodies = [
            event["body"] for event in events if event.get("method") in ("basic.deliver", "basic.get-ok")
        ]
        if bodies:
            found[stream] = bodies
    return found


def _whose_turn(difference: Difference) -> bool:
    """The same messages went to several consumers, but not each to the same one."""
    left, right = _bodies(difference.left_streams), _bodies(difference.right_streams)
    consumers = {str(op.args.get("consumer_tag")) for op in difference.ops if op.kind == "basic.consume"}
    return (
        " deliveries to " in difference.stream
        and len(consumers) > 1
        and sorted(body for each in left.values() for body in each)
        == sorted(body for each in right.values() for body in each)
        and left != right
    )


def _only_at_the_head(difference: Difference) -> bool:
    """A message expired that RabbitMQ keeps behind others which have not, or have longer."""
    times = [
        op for op in difference.ops
        if "expiration" in op.args.get("properties", {}) or "x-message-ttl" in op.args.get("arguments", {})
    ]  # fmt: skip
    left, right = difference.left_streams.get("queues"), difference.right_streams.get("queues")
    if not left or not right or not times:
        return False
    ours, theirs = left[0], right[0]
    kept = [name for name in theirs if ours.get(name, [0])[0] < theirs[name][0] > 1]
    if not kept or set(ours) != set(theirs):
        return False
    if difference.stream == "queues":  # and what died has come to other queues
        more = [name for name in theirs if name not in kept and ours[name] != theirs[name]]
        letters = any("x-dead-letter-exchange" in op.args.get("arguments", {}) for op in difference.ops)
        return not more or (letters and difference.op.kind == "wait")
    return difference.op.kind == "wait" and " deliveries to " in difference.stream


def _order_of_quorum(difference: Difference) -> bool:
    """Another message of the same quorum queue is next. The method and all but the message are the same."""
    left, right = difference.left or [], difference.right or []
    if not difference.quorum_queues() or len(left) != len(right):
        return False
    methods = ("basic.get-ok", "basic.deliver")
    return all(
        ours.get("method") in methods
        and ours["method"] == theirs.get("method")
        and ours["body"] != theirs["body"]
        and ours["redelivered"] == theirs["redelivered"]
        for ours, theirs in zip(left, right, strict=True)
        if ours != theirs
    )


_TYPE = re.compile(r"of type '[a-z]+'")


def _name_of_type(difference: Difference) -> bool:
    ours, theirs = close_texts(difference)
    return ours != theirs and _TYPE.sub("", ours) == _TYPE.sub("", theirs) != ""


_INVALID = re.compile(r"invalid arg '([^']+)' for queue")


def _which_argument_first(difference: Difference) -> bool:
    """Of several arguments that are wrong another one is named."""
    texts = close_texts(difference)
    named = [_INVALID.search(text) for text in texts]
    if named[0] is None or named[1] is None or difference.op.kind != "queue.declare":
        return False
    given = difference.op.args["arguments"]
    return named[0][1] != named[1][1] and all(each is not None and each[1] in given for each in named)


def _soft_limit(difference: Difference) -> bool:
    """A quorum queue refuses one message later than its limit says."""
    refusing = [
        op for op in difference.ops
        if op.args.get("arguments", {}).get("x-overflow") == "reject-publish"
        and op.args.get("queue") in difference.quorum_queues()
    ]  # fmt: skip
    if not refusing or difference.op.kind != "basic.publish":
        return False
    if difference.stream == "queues" and difference.left and difference.right:
        ours, theirs = difference.left[0], difference.right[0]
        names = {str(op.args["queue"]) for op in refusing}
        return all(ours[name] == theirs[name] or name in names for name in ours) and set(ours) == set(theirs)
    if not difference.stream.endswith(" publisher") or not difference.left or not difference.right:
        return False
    ours, theirs = difference.left[-1], difference.right[-1]
    return (
        difference.left[:-1] == difference.right[:-1]
        and ours.get("method") == theirs.get("method") == "outcomes"
        and set(theirs["refused"]) < set(ours["refused"])
        and sorted(ours["confirmed"] + ours["refused"]) == sorted(theirs["confirmed"] + theirs["refused"])
    )


KNOWN: list[Known] = [
    Known(
        "a dead letter begins anew",
        "a dead letter of a classic queue, or in one, is new; RabbitMQ 4.3 marks it redelivered and goes on counting",
        _counts_begin_anew,
        versions=("4.3",),
        ends=False,
    ),
    Known(
        "soft limit of a quorum queue",
        "x-max-length with reject-publish is exact; RabbitMQ's quorum queues take one or more above it",
        _soft_limit,
    ),
    Known(
        "headers of 4",
        "x-last-death-exchange and its like are of RabbitMQ 3.13 and later",
        _later_headers,
        versions=("3.10",),
        ends=False,
    ),
    Known(
        "exclusive consumer of a quorum queue",
        "basic.consume with exclusive means the same for both types; RabbitMQ's quorum queues ignore it",
        _exclusive_of_quorum,
        versions=("4.3",),
    ),
    Known(
        "requeued to a full queue",
        "what comes back to a full queue that drops its head is given to a consumer with credit first; RabbitMQ "
        "drops it",
        _requeued_to_a_full_queue,
    ),
    Known(
        "order within a transaction",
        "a commit does what it holds in the order of its commands; RabbitMQ publishes first and settles then",
        _within_a_transaction,
    ),
    Known(
        "RabbitMQ falls over",
        "a name that looks like a reply queue's and is none is not found; RabbitMQ ends the connection with 541",
        _falls_over,
        versions=("4.3",),
    ),
    Known(
        "whose turn it is",
        "consumers of a queue are served in turn, and one that has room again keeps its place in the ring; "
        "RabbitMQ puts it at the end",
        _whose_turn,
    ),
    Known(
        "expired behind others",
        "what has expired leaves wherever it is in a queue; in RabbitMQ when it comes to the head",
        _only_at_the_head,
        versions=("3.10", "4.3"),
    ),
    Known(
        "order of a quorum queue",
        "requeueing to the end of what was returned is RabbitMQ's alone; here what is requeued goes back to its place",
        _order_of_quorum,
    ),
    Known(
        "names of types",
        "the text of an inequivalent argument names the type as signedint or long by its value",
        _name_of_type,
        ends=False,
    ),
    Known(
        "several wrong arguments",
        "of several wrong arguments another one is named",
        _which_argument_first,
        ends=False,
    ),
    Known(
        "consumers of a quorum queue",
        "RabbitMQ counts a basic.get that is not settled as a consumer, and of a queue with a single active "
        "consumer that one only",
        _quorum_consumers,
        ends=False,
    ),
    Known(
        "mandatory reply to nobody",
        "a reply to a requester that is gone is returned when it is mandatory; RabbitMQ drops it without a word",
        _reply_to_nobody,
        ends=False,
    ),
]


def known_for(version: str) -> list[Known]:
    """The entries that are about RabbitMQ of `version` ("3.10.8")."""
    return [each for each in KNOWN if any(version.startswith(known) for known in each.versions)]
