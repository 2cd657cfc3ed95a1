"""Where a message goes: types, exchange-to-exchange bindings with cycles, alternate exchanges, the default exchange."""

from __future__ import annotations

import pytest

from leveret.errors import NotFound
from tests.core.places import Place


@pytest.fixture
def place() -> Place:
    place = Place()
    for name in "abcd":
        place.queue(name)
    return place


def link(place: Place, source: str, destination: str, key: str = "") -> None:
    place.topology.bind_exchange(destination, source, key, {})


def test_default_exchange_goes_by_queue_name(place: Place) -> None:
    assert place.route("", "a") == ["a"]
    assert place.route("", "nobody") == []


def test_unknown_exchange(place: Place) -> None:
    with pytest.raises(NotFound) as caught:
        place.route("x", "k")
    assert caught.value.reply_text == "NOT_FOUND - no exchange 'x' in vhost '/'"


def test_direct(place: Place) -> None:
    place.bind("a", "amq.direct", "k")
    place.bind("b", "amq.direct", "k")
    place.bind("c", "amq.direct", "other")
    assert place.route("amq.direct", "k") == ["a", "b"]
    place.unbind("a", "amq.direct", "k")
    assert place.route("amq.direct", "k") == ["b"]


def test_fanout_ignores_keys_and_gives_each_queue_once(place: Place) -> None:
    place.bind("a", "amq.fanout", "one")
    place.bind("a", "amq.fanout", "two")
    place.bind("b", "amq.fanout")
    assert place.route("amq.fanout", "whatever") == ["a", "b"]
    place.unbind("a", "amq.fanout", "one")
    assert place.route("amq.fanout") == ["a", "b"]
    place.unbind("a", "amq.fanout", "two")
    assert place.route("amq.fanout") == ["b"]


def test_same_key_with_other_arguments_is_another_binding(place: Place) -> None:
    for exchange in ("amq.direct", "amq.topic"):
        place.bind("a", exchange, "k", n=1)
        place.bind("a", exchange, "k", n=True)
        assert place.route(exchange, "k") == ["a"]
        place.unbind("a", exchange, "k", n=1)
        assert place.route(exchange, "k") == ["a"]
        place.unbind("a", exchange, "k", n=True)
        assert place.route(exchange, "k") == []


def test_headers_and_topic(place: Place) -> None:
    place.bind("a", "amq.topic", "x.#")
    place.bind("b", "amq.headers", "", format="pdf")
    assert place.route("amq.topic", "x.y") == ["a"]
    assert place.route("amq.headers", "", {"format": "pdf"}) == ["b"]


def test_through_exchanges_each_queue_once(place: Place) -> None:
    place.exchange("one", "fanout")
    place.exchange("two", "topic")
    place.exchange("three", "direct")
    link(place, "one", "two")
    link(place, "one", "three")
    link(place, "two", "three", "k.*")
    place.bind("a", "one")
    place.bind("a", "three", "k.x")
    place.bind("b", "three", "k.x")
    assert place.route("one", "k.x") == ["a", "b"]
    assert place.route("two", "k.x") == ["a", "b"]
    assert place.route("two", "z") == []


def test_cycles_end(place: Place) -> None:
    for name in ("one", "two", "three"):
        place.exchange(name, "fanout")
    link(place, "one", "two")
    link(place, "two", "three")
    link(place, "three", "one")
    link(place, "one", "one")
    place.bind("a", "one")
    place.bind("b", "two")
    place.bind("c", "three")
    for name in ("one", "two", "three"):
        assert place.route(name) == ["a", "b", "c"]


def test_alternate_exchange_takes_what_nothing_takes(place: Place) -> None:
    place.exchange("main", arguments={"alternate-exchange": "spare"})
    assert place.route("main", "k") == []  # there is no such exchange yet
    place.exchange("spare", "fanout")
    place.bind("a", "main", "k")
    place.bind("b", "spare")
    assert place.route("main", "k") == ["a"]
    assert place.route("main", "other") == ["b"]


def test_alternates_in_a_row_and_in_a_circle(place: Place) -> None:
    place.exchange("one", arguments={"alternate-exchange": "two"})
    place.exchange("two", arguments={"alternate-exchange": "three"})
    place.exchange("three", arguments={"alternate-exchange": "one"})
    place.bind("c", "three", "k")
    place.bind("a", "one", "z")
    assert place.route("one", "k") == ["c"]
    assert place.route("two", "z") == ["a"]
    assert place.route("two", "nowhere") == []


def test_alternate_of_an_exchange_behind(place: Place) -> None:
    """Each exchange on the way has its own; the first one did take the message."""
    place.exchange("first", "fanout", arguments={"alternate-exchange": "never"})
    place.exchange("behind", "direct", arguments={"alternate-exchange": "spare"})
    place.exchange("never", "fanout")
    place.exchange("spare", "fanout")
    link(place, "first", "behind")
    place.bind("a", "never")
    place.bind("b", "spare")
    assert place.route("first", "k") == ["b"]


def test_alternate_is_not_the_default_exchange(place: Place) -> None:
    """Nothing is bound to the default exchange: it goes by name for its own publishes alone, as in RabbitMQ."""
    place.exchange("main", arguments={"alternate-exchange": ""})
    assert place.route("main", "a") == []


def test_who_needs_the_message(place: Place) -> None:
    place.exchange("plain", "fanout")
    place.exchange("first", "fanout")
    place.exchange("spared", arguments={"alternate-exchange": "amq.headers"})
    link(place, "first", "plain")
    link(place, "first", "amq.headers")
    needs = place.topology.route_needs_message
    assert [needs(x) for x in ("amq.headers", "first", "spared")] == [False, False, False]
    place.bind("a", "amq.headers", "", format="pdf")
    assert [needs(x) for x in ("amq.headers", "first", "spared")] == [True, True, True]
    assert [needs(x) for x in ("", "plain", "amq.topic")] == [False, False, False]
    assert place.route("first", "", {"format": "pdf"}) == ["a"]


def test_deleting_an_end_removes_its_bindings_everywhere(place: Place) -> None:
    place.exchange("one", "fanout")
    place.exchange("two", "fanout")
    link(place, "one", "two")
    place.bind("a", "one")
    place.bind("a", "two")
    place.bind("b", "two")
    place.topology.delete_queue("a", False, False, "me")
    assert place.route("one") == ["b"]
    place.topology.delete_exchange("two", False)
    assert place.route("one") == []
    assert place.listed() == set()


def test_removing_a_destination_does_not_look_at_others() -> None:
    """A queue knows where it is bound; nothing goes through the 1,000 other bindings."""
    place = Place()
    for n in range(1_000):
        place.queue(f"q{n}")
        place.bind(f"q{n}", "amq.direct", "k")
    x = place.topology.exchange("amq.direct")
    place.queue("odd")
    place.bind("odd", "amq.direct", "one")
    place.bind("odd", "amq.direct", "two")
    assert len(x.by_destination) == 1_001
    assert len(x.by_destination[place.topology.queues["odd"]]) == 2
    place.topology.delete_queue("odd", False, False, "me")
    assert len(x.bindings()) == 1_000


def test_version_moves_with_whatever_routing_depends_on(place: Place) -> None:
    topology = place.topology
    seen = {topology.version}

    def moved() -> None:
        assert topology.version not in seen
        seen.add(topology.version)

    place.queue("e")
    moved()
    place.exchange("x", "fanout")
    moved()
    place.bind("e", "x")
    moved()
    before = topology.version
    place.bind("e", "x")
    place.queue("e")
    place.exchange("x", "fanout")
    assert topology.version == before
    place.unbind("e", "x")
    moved()
    topology.delete_exchange("x", False)
    moved()
    topology.delete_queue("e", False, False, "me")
    moved()
