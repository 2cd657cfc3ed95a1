"""Declaring, deleting and binding: what is refused and in which words, and what goes with what."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from leveret.errors import AccessRefused, NotFound, PeerError, PreconditionFailed, ResourceLocked
from tests.core.places import Place

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally "
    "declared on another connection or the exclusive property value does not match that of the original declaration."
)
ARGUMENTS_REFUSED: list[tuple[str, dict[str, object], str]] = [
    (
        "x-consistent-hash",
        {"hash-header": "a", "hash-property": "message_id"},
        "hash-header and hash-property are mutually exclusive",
    ),
    (
        "x-consistent-hash",
        {"hash-header": "a", "hash-property": "app_id"},
        "hash-header and hash-property are mutually exclusive",
    ),
    ("x-consistent-hash", {"hash-property": "app_id"}, "Unsupported property: app_id"),
    (
        "x-consistent-hash",
        {"hash-header": 5},
        "invalid type 'signedint' for arg 'hash-header' in exchange 'z' in vhost '/'",
    ),
    (
        "x-consistent-hash",
        {"hash-property": None},
        "invalid type 'void' for arg 'hash-property' in exchange 'z' in vhost '/'",
    ),
    ("x-delayed-message", {}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
    (
        "x-delayed-message",
        {"x-delayed-type": 1},
        "Invalid argument, 'x-delayed-type' must be an existing exchange type",
    ),
    (
        "x-delayed-message",
        {"x-delayed-type": "x-delayed-message"},
        "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'",
    ),
    ("x-delayed-message", {"x-delayed-type": "nope"}, "unknown exchange type 'nope'"),
    ("x-delayed-message", {"x-delayed-type": ""}, "unknown exchange type ''"),
    (
        "x-delayed-message",
        {"x-delayed-type": b"x-consistent-hash", "hash-property": "app_id"},
        "Unsupported property: app_id",
    ),
]


def declared(kind: str, arguments: dict[str, object]) -> Callable[[Place], object]:
    return lambda place: place.exchange("z", kind, arguments=arguments)


DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"


@pytest.fixture
def place() -> Place:
    """Queues q (shared) and mine (exclusive, of "me"), exchange x (direct)."""
    place = Place()
    place.queue("q")
    place.queue("mine", exclusive=True)
    place.exchange("x")
    return place


Act = Callable[[Place], object]


REFUSED: list[tuple[str, type[PeerError], str, Act]] = [
    (
        "queue not there",
        NotFound,
        "NOT_FOUND - no queue 'z' in vhost '/'",
        lambda p: p.queue("z", passive=True),
    ),
    (
        "exchange not there",
        NotFound,
        "NOT_FOUND - no exchange 'z' in vhost '/'",
        lambda p: p.exchange("z", passive=True),
    ),
    ("bind no queue", NotFound, "NOT_FOUND - no queue 'z' in vhost '/'", lambda p: p.bind("z", "x")),
    ("bind no exchange", NotFound, "NOT_FOUND - no exchange 'z' in vhost '/'", lambda p: p.bind("q", "z")),
    ("bind neither", NotFound, "NOT_FOUND - no exchange 'z' in vhost '/'", lambda p: p.bind("z", "z")),
    (
        "bind no source",
        NotFound,
        "NOT_FOUND - no exchange 'z' in vhost '/'",
        lambda p: p.topology.bind_exchange("x", "z", "", {}),
    ),
    (
        "bind no destination",
        NotFound,
        "NOT_FOUND - no exchange 'z' in vhost '/'",
        lambda p: p.topology.bind_exchange("z", "x", "", {}),
    ),
    (
        "reserved queue name",
        AccessRefused,
        "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'",
        lambda p: p.queue("amq.q"),
    ),
    (
        "reserved exchange name",
        AccessRefused,
        "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'",
        lambda p: p.exchange("amq.x"),
    ),
    (
        "delete amq.direct",
        AccessRefused,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
        lambda p: p.topology.delete_exchange("amq.direct", False),
    ),
    ("declare default", AccessRefused, DEFAULT, lambda p: p.exchange("")),
    ("declare default passively", AccessRefused, DEFAULT, lambda p: p.exchange("", passive=True)),
    ("delete default", AccessRefused, DEFAULT, lambda p: p.topology.delete_exchange("", False)),
    ("bind to default", AccessRefused, DEFAULT, lambda p: p.bind("q", "", "k")),
    ("unbind from default", AccessRefused, DEFAULT, lambda p: p.unbind("q", "", "q")),
    (
        "bind default as source",
        AccessRefused,
        DEFAULT,
        lambda p: p.topology.bind_exchange("x", "", "", {}),
    ),
    (
        "bind default as destination",
        AccessRefused,
        DEFAULT,
        lambda p: p.topology.bind_exchange("", "x", "", {}),
    ),
    (
        "unbind default as source",
        AccessRefused,
        DEFAULT,
        lambda p: p.topology.unbind_exchange("x", "", "", {}),
    ),
    (
        "unknown type",
        PreconditionFailed,
        "PRECONDITION_FAILED - unknown exchange type 'nope'",
        lambda p: p.exchange("z", "nope"),
    ),
    *[
        (
            f"{kind} {arguments}",
            PreconditionFailed,
            "PRECONDITION_FAILED - " + text,
            declared(kind, arguments),
        )
        for kind, arguments, text in ARGUMENTS_REFUSED
    ],
    (
        "type of the alternate exchange",
        PreconditionFailed,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'z' in vhost '/'",
        lambda p: p.exchange("z", arguments={"alternate-exchange": 1}),
    ),
    (
        "another's queue",
        ResourceLocked,
        LOCKED,
        lambda p: p.queue("mine", exclusive=True, owner="you"),
    ),
    (
        "another's queue, passively",
        ResourceLocked,
        LOCKED,
        lambda p: p.queue("mine", passive=True, owner="you"),
    ),
    ("my own queue, shared", ResourceLocked, LOCKED, lambda p: p.queue("mine", durable=False)),
    ("look at another's queue", ResourceLocked, LOCKED, lambda p: p.topology.queue("mine", "you")),
    (
        "delete another's queue",
        ResourceLocked,
        LOCKED,
        lambda p: p.topology.delete_queue("mine", False, False, "you"),
    ),
    (
        "bind another's queue",
        ResourceLocked,
        LOCKED,
        lambda p: p.topology.bind_queue("mine", "x", "k", {}, "you"),
    ),
    (
        "take a shared queue",
        ResourceLocked,
        LOCKED.replace("mine", "q"),
        lambda p: p.queue("q", exclusive=True),
    ),
    (
        "queue durable",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': "
        "received 'false' but current is 'true'",
        lambda p: p.queue("q", durable=False),
    ),
    (
        "queue auto-delete",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': "
        "received 'true' but current is 'false'",
        lambda p: p.queue("q", auto_delete=True),
    ),
    (
        "exchange type",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': "
        "received 'topic' but current is 'direct'",
        lambda p: p.exchange("x", "topic"),
    ),
    (
        "exchange durable",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': "
        "received 'false' but current is 'true'",
        lambda p: p.exchange("x", durable=False),
    ),
    (
        "exchange auto-delete",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': "
        "received 'true' but current is 'false'",
        lambda p: p.exchange("x", auto_delete=True),
    ),
    (
        "exchange internal",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'internal' for exchange 'x' in vhost '/': "
        "received 'true' but current is 'false'",
        lambda p: p.exchange("x", internal=True),
    ),
    (
        "exchange alternate",
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': "
        "received the value 'b' of type 'longstr' but current is none",
        lambda p: p.exchange("x", arguments={"alternate-exchange": "b"}),
    ),
    (
        "x-match",
        PreconditionFailed,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; '
        "expected all, any, all-with-x, or any-with-x",
        lambda p: p.bind("q", "amq.match", "", x_match="some"),
    ),
    (
        "name too long",
        PreconditionFailed,
        f"PRECONDITION_FAILED - queue name '{'ü' * 128}' is longer than 255 bytes",
        lambda p: p.queue("ü" * 128),
    ),
]


@pytest.mark.parametrize(
    ("error", "text", "act"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(place: Place, error: type[PeerError], text: str, act: Act) -> None:
    before = place.listed(), place.topology.version, len(place.journal.ops)
    with pytest.raises(error) as caught:
        act(place)
    assert caught.value.reply_text == text
    assert (place.listed(), place.topology.version, len(place.journal.ops)) == before


def test_unbinding_anothers_queue_is_refused_when_it_is_bound(place: Place) -> None:
    unbind = place.topology.unbind_queue
    unbind("mine", "x", "k", {}, "you")
    place.bind("mine", "x", "k")
    with pytest.raises(ResourceLocked):
        unbind("mine", "x", "k", {}, "you")
    assert place.route("x", "k") == ["mine"]


def test_unbinding_and_deleting_what_is_not_there_is_done(place: Place) -> None:
    t = place.topology
    before = len(place.journal.ops)
    place.unbind("q", "x", "k")
    place.unbind("z", "x", "k")
    place.unbind("q", "z", "k")
    t.unbind_exchange("z", "x", "", {})
    t.delete_exchange("z", False)
    assert t.delete_queue("z", False, False, "me") == 0
    assert len(place.journal.ops) == before


def test_given_exchanges(place: Place) -> None:
    given = {
        x.name: (x.kind, x.durable, x.auto_delete, x.internal)
        for x in place.topology.exchanges.values()
        if x.name != "x"
    }
    assert given == {
        "": ("direct", True, False, False),
        "amq.direct": ("direct", True, False, False),
        "amq.fanout": ("fanout", True, False, False),
        "amq.topic": ("topic", True, False, False),
        "amq.headers": ("headers", True, False, False),
        "amq.match": ("headers", True, False, False),
        "amq.rabbitmq.trace": ("topic", True, False, True),
    }
    place.exchange("amq.direct")  # declaring one as it is finds it


def test_server_named_queues(place: Place) -> None:
    names = {place.queue("", exclusive=True).name for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", name)
        assert place.queue(name, passive=True).name == name
    with pytest.raises(AccessRefused):  # as in RabbitMQ, though it is there
        place.queue(name, exclusive=True)


def test_passive_says_nothing_of_the_rest(place: Place) -> None:
    place.exchange("x", "nope", durable=False, internal=True, passive=True)
    assert (
        place.queue("q", durable=False, auto_delete=True, arguments={"x-expires": 1}, passive=True).name
        == "q"
    )


def test_exclusive_queues_belong_to_their_connection(place: Place) -> None:
    q = place.queue("mine", durable=True, exclusive=True)
    assert not q.durable
    assert place.topology.owned_by("me") == [q]
    assert place.topology.owned_by("you") == []
    assert place.topology.queue("mine", None) is q  # the operator
    place.topology.delete_queue("mine", False, False, "me")
    assert place.topology.owned_by("me") == []
    assert not place.topology.owned


def test_delete_queue_if(place: Place) -> None:
    delete = place.topology.delete_queue
    q = place.queue("q")
    q.ready, q.consumers = 3, 1
    with pytest.raises(PreconditionFailed, match=r"^queue 'q' in vhost '/' not empty$"):
        delete("q", True, True, "me")
    with pytest.raises(PreconditionFailed, match=r"^queue 'q' in vhost '/' in use$"):
        delete("q", True, False, "me")
    assert delete("q", False, False, "me") == 3
    assert q.dropped
    assert place.factory.gone == ["q"]
    assert place.route("", "q") == []


def test_delete_exchange_if_unused(place: Place) -> None:
    place.bind("q", "x")
    with pytest.raises(PreconditionFailed, match=r"^exchange 'x' in vhost '/' in use$"):
        place.topology.delete_exchange("x", True)
    place.unbind("q", "x")
    place.exchange("y")
    place.topology.bind_exchange("x", "y", "", {})  # a destination is not in use
    place.topology.delete_exchange("x", True)
    assert place.own_exchanges() == {"y"}
    assert place.listed() == set()


def test_auto_delete_queue_goes_with_its_last_consumer(place: Place) -> None:
    q = place.queue("brief", auto_delete=True)
    place.topology.consumer_gone(q)
    assert not q.dropped  # never had one
    q.had_consumers = True
    q.consumers = 1
    place.topology.consumer_gone(q)
    assert not q.dropped
    q.consumers = 0
    place.topology.consumer_gone(q)
    assert q.dropped
    assert "brief" not in place.topology.queues
    place.topology.consumer_gone(q)
    assert place.factory.gone == ["brief"]


def test_shared_queue_stays_without_consumers(place: Place) -> None:
    q = place.queue("q")
    q.had_consumers = True
    place.topology.consumer_gone(q)
    assert not q.dropped


def test_auto_delete_exchange_goes_with_its_last_binding(place: Place) -> None:
    place.exchange("brief", "fanout", auto_delete=True)
    place.bind("q", "brief", "one")
    place.bind("q", "brief", "two")
    place.unbind("q", "brief", "one")
    assert "brief" in place.own_exchanges()
    place.unbind("q", "brief", "two")
    assert "brief" not in place.own_exchanges()


def test_auto_delete_cascades_from_a_queue_up(place: Place) -> None:
    for name in ("one", "two", "three"):
        place.exchange(name, "fanout", auto_delete=True)
    place.exchange("stays", "fanout")
    place.topology.bind_exchange("two", "one", "", {})
    place.topology.bind_exchange("three", "two", "", {})
    place.topology.bind_exchange("three", "stays", "", {})
    place.queue("last")
    place.bind("last", "three")
    place.topology.delete_queue("last", False, False, "me")
    assert place.own_exchanges() == {"x", "stays"}
    assert place.listed() == set()


def test_auto_delete_exchange_stays_while_something_else_is_bound(place: Place) -> None:
    place.exchange("brief", "fanout", auto_delete=True)
    place.queue("last")
    place.bind("last", "brief")
    place.bind("q", "brief")
    place.topology.delete_queue("last", False, False, "me")
    assert place.route("brief") == ["q"]


def test_circle_of_auto_delete_exchanges_ends(place: Place) -> None:
    for name in ("one", "two"):
        place.exchange(name, "fanout", auto_delete=True)
    place.topology.bind_exchange("two", "one", "", {})
    place.topology.bind_exchange("one", "two", "", {})
    place.topology.bind_exchange("one", "one", "", {})
    place.topology.delete_exchange("two", False)
    assert place.own_exchanges() == {"x", "one"}
    place.topology.unbind_exchange("one", "one", "", {})
    assert place.own_exchanges() == {"x"}


def test_binding_twice_is_binding_once(place: Place) -> None:
    place.bind("q", "x", "k", a=1, b=[1])
    once = place.listed(), len(place.journal.ops)
    place.topology.bind_queue("q", "x", "k", {"b": [1], "a": 1}, "me")
    assert (place.listed(), len(place.journal.ops)) == once
    place.unbind("q", "x", "k", a=1)  # another binding
    assert place.listed() == once[0]
    place.topology.unbind_queue("q", "x", "k", {"b": [1], "a": 1}, "me")
    assert place.listed() == set()


def test_listing_begins_with_what_every_queue_is_bound_to(place: Place) -> None:
    place.bind("q", "x", "k")
    rows = [
        (b.source.name, b.destination.kind_name(), b.destination.name, b.key)
        for b in place.topology.bindings()
    ]
    assert rows == [("", "queue", "q", "q"), ("", "queue", "mine", "mine"), ("x", "queue", "q", "k")]
    place.bind("mine", "x", "k")
    assert [b.durable() for b in place.topology.bindings_to(place.topology.queues["q"])] == [True]
    assert [b.durable() for b in place.topology.bindings_to(place.topology.queues["mine"])] == [False]


def test_names_that_are_no_text(place: Place) -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    place.queue(name)
    place.exchange(name, "topic")
    place.bind(name, name, name)
    assert place.route(name, name) == [name]
    with pytest.raises(NotFound):
        place.topology.queue(name + "x", "me")
