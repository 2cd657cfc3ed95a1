"""The arguments of queues: which are taken, which are refused, and in which words."""

from __future__ import annotations

import pytest

from leveret.core.arguments import ARGUMENTS, CONSUMER_ARGUMENTS, NO_EFFECT
from leveret.core.arguments import REFUSED as NOT_THERE
from leveret.errors import PreconditionFailed
from tests.core.places import Place

Q = "queue 'q' in vhost '/'"

REFUSED: list[tuple[dict[str, object], str]] = [
    ({"x-queue-type": "nope"}, f"invalid arg 'x-queue-type' for {Q}: \"unsupported queue type 'nope'\""),
    ({"x-queue-type": "stream"}, f"invalid arg 'x-queue-type' for {Q}: \"unsupported queue type 'stream'\""),
    ({"x-queue-type": 1}, f"invalid arg 'x-queue-type' for {Q}: {{unacceptable_type,signedint}}"),
    ({"x-message-ttl": -1}, f"invalid arg 'x-message-ttl' for {Q}: {{value_negative,-1}}"),
    (
        {"x-message-ttl": "long"},
        f"invalid arg 'x-message-ttl' for {Q}: \"expected integer, got longstr\"",
    ),
    ({"x-message-ttl": True}, f"invalid arg 'x-message-ttl' for {Q}: \"expected integer, got bool\""),
    (
        {"x-message-ttl": 315_360_000_001},
        f"invalid arg 'x-message-ttl' for {Q}: {{value_too_large,315360000001}}",
    ),
    ({"x-expires": 0}, f"invalid arg 'x-expires' for {Q}: {{value_zero,0}}"),
    ({"x-max-priority": 256}, f"invalid arg 'x-max-priority' for {Q}: {{max_value_exceeded,256}}"),
    ({"x-max-length": -2}, f"invalid arg 'x-max-length' for {Q}: {{value_negative,-2}}"),
    ({"x-overflow": "spill"}, f"invalid arg 'x-overflow' for {Q}: invalid_overflow"),
    ({"x-overflow": 1}, f"invalid arg 'x-overflow' for {Q}: {{unacceptable_type,signedint}}"),
    (
        {"x-dead-letter-routing-key": "k"},
        f"invalid arg 'x-dead-letter-routing-key' for {Q}: routing_key_but_no_dlx_defined",
    ),
    ({"x-dead-letter-exchange": 1}, f"invalid type 'signedint' for arg 'x-dead-letter-exchange' in {Q}"),
    (
        {"x-single-active-consumer": "yes"},
        f"invalid arg 'x-single-active-consumer' for {Q}: {{unacceptable_type,longstr}}",
    ),
    ({"x-queue-version": 1}, f"invalid arg 'x-queue-version' for {Q}: \"unsupported queue version '1'\""),
    (
        {"x-queue-leader-locator": "here"},
        f"invalid arg 'x-queue-leader-locator' for {Q}: invalid_queue_locator_arg",
    ),
    (
        {"x-queue-type": "quorum", "x-quorum-initial-group-size": 0},
        f"invalid arg 'x-quorum-initial-group-size' for {Q}: {{value_zero,0}}",
    ),
    # arguments of other types
    ({"x-delivery-limit": 5}, f"invalid arg 'x-delivery-limit' for {Q} of queue type rabbit_classic_queue"),
    ({"x-max-age": "1D"}, f"invalid arg 'x-max-age' for {Q} of queue type rabbit_classic_queue"),
    (
        {"x-queue-type": "quorum", "x-max-priority": 5},
        f"invalid arg 'x-max-priority' for {Q} of queue type rabbit_quorum_queue",
    ),
    # Leveret's own
    (
        {"x-retry": "fixed;dleay=1s"},
        f"invalid arg 'x-retry' for {Q}: \"unknown key 'dleay', expected type, delay, max-delay, multiplier, jitter, max\"",
    ),
]

TAKEN: list[dict[str, object]] = [
    {},
    {"x-queue-type": "classic"},
    {"x-queue-type": "quorum"},
    {"x-queue-type": ""},
    {"x-queue-mode": "lazy", "x-queue-version": 2},
    {"x-queue-leader-locator": "balanced", "x-queue-master-locator": "min-masters"},
    {"x-queue-type": "quorum", "x-quorum-initial-group-size": 3, "x-max-in-memory-length": 0},
    {"x-single-active-consumer": False, "x-overflow": "drop-head"},
    {
        "x-queue-type": "quorum",
        "x-delivery-limit": 5,
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 1,
    },
    {"x-queue-type": "quorum", "x-delivery-limit": "no number", "x-delayed-retry-type": 7},
    {"x-retry": "exponential;delay=1s;max=5"},
    {"x-retry": {"type": "fixed", "delay": 100}},
    {"x-whatever": [1, {"a": None}], "other": 1},
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED)
def test_refused(arguments: dict[str, object], text: str) -> None:
    place = Place()
    with pytest.raises(PreconditionFailed) as caught:
        place.queue("q", arguments=arguments)
    assert caught.value.text == text
    assert not place.topology.queues
    assert not place.journal.ops


@pytest.mark.parametrize("arguments", TAKEN)
def test_taken_kept_and_found_again(arguments: dict[str, object]) -> None:
    place = Place()
    q = place.queue("q", arguments=arguments)
    assert q.arguments == arguments
    assert q.queue_type == (arguments.get("x-queue-type") or "classic")
    assert place.queue("q", arguments=arguments) is q


@pytest.mark.parametrize(
    ("options", "property_name"),
    [
        ({"auto_delete": True}, "auto-delete"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"durable": False}, "non-durable"),
    ],
)
def test_quorum_queues_are_durable_and_shared(options: dict[str, bool], property_name: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        Place().queue("q", arguments={"x-queue-type": "quorum"}, **options)
    assert caught.value.text == f"invalid property '{property_name}' for {Q}"


def test_quorum_queues_are_named_by_clients() -> None:
    with pytest.raises(PreconditionFailed) as caught:
        Place().queue("", arguments={"x-queue-type": "quorum"})
    assert caught.value.text == "Cannot declare a server-named queue for type rabbit_quorum_queue"


UNEQUAL: list[tuple[dict[str, object], dict[str, object], str]] = [
    (
        {},
        {"x-message-ttl": 1000},
        "'x-message-ttl' for {q}: received the value '1000' of type 'signedint' but current is none",
    ),
    (
        {"x-queue-mode": "lazy"},
        {},
        "'x-queue-mode' for {q}: received none but current is the value 'lazy' of type 'longstr'",
    ),
    (
        {"x-queue-mode": "lazy"},
        {"x-queue-mode": "default"},
        "'x-queue-mode' for {q}: received 'default' but current is 'lazy'",
    ),
    (
        {"x-queue-mode": 1},
        {"x-queue-mode": True},
        "'x-queue-mode' for {q}: received 'true' but current is '1'",
    ),
    ({}, {"x-queue-type": "quorum"}, "'x-queue-type' for {q}: received 'quorum' but current is 'classic'"),
    ({"x-queue-type": "quorum"}, {}, "'x-queue-type' for {q}: received 'classic' but current is 'quorum'"),
]


@pytest.mark.parametrize(("first", "then", "text"), UNEQUAL)
def test_unequal(first: dict[str, object], then: dict[str, object], text: str) -> None:
    place = Place()
    place.queue("q", arguments=first)
    with pytest.raises(PreconditionFailed) as caught:
        place.queue("q", arguments=then)
    assert caught.value.text == "inequivalent arg " + text.format(q=Q)


def test_equal_enough() -> None:
    """What RabbitMQ does not know is not compared, and no type is the classic type."""
    place = Place()
    q = place.queue("q", arguments={"x-mine": 1})
    assert place.queue("q", arguments={"x-mine": 2}) is q
    assert place.queue("q", arguments={"x-queue-type": "classic"}) is q
    assert q.arguments == {"x-mine": 1}


def test_the_table_names_each_once_and_says_what_it_is() -> None:
    for rows in (ARGUMENTS, CONSUMER_ARGUMENTS):
        names = [row.name for row in rows]
        assert len(names) == len(set(names))
        for row in rows:
            assert row.meaning
            assert row.types <= {"classic", "quorum", "stream"}
            assert (row.status == NOT_THERE) == (row.types == {"stream"})
            assert row.value or row.status == NOT_THERE
            assert row.default or row.status in (NOT_THERE, NO_EFFECT)
