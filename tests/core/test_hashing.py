"""Exchanges that give each message to one destination: how they spread, what moves, what a restart changes: nothing."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.exchange import Exchange
from leveret.core.hashing import RandomMatcher, digest, mixed, shown_binary
from leveret.errors import PreconditionFailed
from leveret.wire.field import Timestamp
from tests.core.places import Place

KEYS = [f"order.{n}" for n in range(6_000)]
PRECONDITION = "PRECONDITION_FAILED - "


def spread(kind: str, queues: int, weights: list[int] | None = None, **arguments: object) -> Place:
    """An exchange x with queues q0, q1, ..., bound with weights, 1 unless told."""
    place = Place()
    place.exchange("x", kind, arguments={name.replace("_", "-"): value for name, value in arguments.items()})
    for n in range(queues):
        place.queue(f"q{n}")
        place.bind(f"q{n}", "x", str(weights[n]) if weights else "1")
    return place


def assignment(place: Place, keys: list[str] = KEYS) -> dict[str, str]:
    """Where each key goes, which has to be one place."""
    found = {}
    for key in keys:
        [found[key]] = place.route("x", key)
    return found


def again(place: Place, ops: list[bytes]) -> Place:
    other = Place()
    for op in ops:
        other.topology.apply(op)
    return other


def test_the_hash_is_the_same_everywhere_and_for_ever() -> None:
    """What is in a queue of a stored directory has to stay where its key leads."""
    assert digest(b"order.1").hex() == "75fc7fcf90669c7f"
    assert [mixed(n) for n in (0, 1, 0xFFFF_FFFF)] == [0, 2261973619, 2578835075]
    place = spread("x-consistent-hash", 5, [1, 2, 3, 4, 5])
    assert [place.route("x", key)[0] for key in KEYS[:12]] == [
        "q3",
        "q0",
        "q3",
        "q1",
        "q2",
        "q4",
        "q4",
        "q4",
        "q2",
        "q1",
        "q3",
        "q3",
    ]


def test_mixed_is_a_permutation() -> None:
    assert len({mixed(n) for n in range(100_000)}) == 100_000


@pytest.mark.parametrize("weights", [[1] * 10, [5] * 3, [1, 2, 3, 4], [1, 10, 100], [1, 1, 10_000]])
def test_spread_is_close_to_weights(weights: list[int]) -> None:
    """Chi-square over fixed keys, against the value that one hash in a million exceeds."""
    place = spread("x-consistent-hash", len(weights), weights)
    counts = Counter(assignment(place).values())
    chi = 0.0
    for n, weight in enumerate(weights):
        expected = len(KEYS) * weight / sum(weights)
        chi += (counts[f"q{n}"] - expected) ** 2 / expected
    assert chi < 45


def test_similar_values_spread_too() -> None:
    place = spread("x-consistent-hash", 4)
    counts = Counter(assignment(place, [str(n) for n in range(4_000)]).values())
    assert all(900 < counts[f"q{n}"] < 1_100 for n in range(4))


@pytest.mark.parametrize("weights", [None, [3, 1, 2, 5, 1, 4]])
def test_only_what_has_to_moves(weights: list[int] | None) -> None:
    place = spread("x-consistent-hash", 6, weights)
    before = assignment(place)
    place.queue("new")
    place.bind("new", "x", "2")
    grown = assignment(place)
    moved = {key for key in KEYS if grown[key] != before[key]}
    assert {grown[key] for key in moved} == {"new"}
    total = 2 + (6 if weights is None else sum(weights))
    assert abs(len(moved) / len(KEYS) - 2 / total) < 0.03
    place.unbind("new", "x", "2")
    assert assignment(place) == before
    place.topology.delete_queue("q3", False, False, "me")
    shrunk = assignment(place)
    assert {before[key] for key in KEYS if shrunk[key] != before[key]} == {"q3"}


@pytest.mark.parametrize("kind", ["x-consistent-hash", "x-modulus-hash"])
def test_a_restart_changes_nothing(kind: str) -> None:
    place = spread(kind, 7, [2, 1, 1, 4, 1, 9, 1])
    place.unbind("q2", "x", "1")
    before = assignment(place, KEYS[:500])
    assert len(set(before.values())) == 6
    assert assignment(again(place, place.journal.ops), KEYS[:500]) == before
    assert assignment(again(place, place.topology.snapshot()), KEYS[:500]) == before


def test_order_of_binding_says_nothing() -> None:
    one, other = spread("x-consistent-hash", 5), Place()
    other.exchange("x", "x-consistent-hash")
    for n in reversed(range(5)):
        other.queue(f"q{n}")
        other.bind(f"q{n}", "x", "1")
    assert assignment(one, KEYS[:300]) == assignment(other, KEYS[:300])


def test_of_several_bindings_of_a_queue_the_first_counts() -> None:
    place = spread("x-consistent-hash", 2)
    before = assignment(place, KEYS[:1_000])
    place.bind("q0", "x", "9")
    assert assignment(place, KEYS[:1_000]) == before
    assert assignment(again(place, place.topology.snapshot()), KEYS[:1_000]) == before
    place.unbind("q0", "x", "1")
    counts = Counter(assignment(place, KEYS[:1_000]).values())
    assert counts["q0"] > 850
    place.unbind("q0", "x", "9")
    assert set(assignment(place, KEYS[:100]).values()) == {"q1"}


def test_nothing_bound_and_one_bound() -> None:
    for kind in ("x-consistent-hash", "x-modulus-hash", "x-random"):
        place = spread(kind, 0)
        assert place.route("x", "k") == []
        place.queue("q")
        place.bind("q", "x", "7")
        assert place.route("x", "k") == ["q"]
        place.unbind("q", "x", "7")
        assert place.route("x", "k") == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "The binding key must be an integer: <<>>"),
        ("x", 'The binding key must be an integer: <<"x">>'),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("é", 'The binding key must be an integer: <<"é"/utf8>>'),
        ("٣", 'The binding key must be an integer: <<"٣"/utf8>>'),
        ('"q"\\', 'The binding key must be an integer: <<"\\"q\\"\\\\">>'),
        ("\x01", "The binding key must be an integer: <<1>>"),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
        ("10001", "The binding key must not exceed 10000"),
    ],
)
def test_a_binding_key_is_a_weight(key: str, text: str) -> None:
    place = spread("x-consistent-hash", 1)
    with pytest.raises(PreconditionFailed) as caught:
        place.bind("q0", "x", key)
    assert caught.value.reply_text == PRECONDITION + text
    with pytest.raises(PreconditionFailed):
        place.topology.bind_exchange("amq.fanout", "x", key, {})


@pytest.mark.parametrize("key", ["1", "10000", "+2", "01"])
def test_weights(key: str) -> None:
    place = spread("x-consistent-hash", 0)
    place.topology.bind_exchange("amq.fanout", "x", key, {})
    place.queue("q")
    place.bind("q", "amq.fanout")
    assert place.route("x", "k") == ["q"]


@given(st.text(max_size=20))
def test_a_binary_is_shown_on_one_line(text: str) -> None:
    shown = shown_binary(text)
    assert shown.startswith("<<")
    assert shown.endswith(">>")
    assert "\n" not in shown


def test_hash_on_a_header() -> None:
    place = spread("x-consistent-hash", 8, hash_header="who")
    assert place.topology.route_needs_message("x")
    values: list[object] = [f"w{n}" for n in range(200)]
    values += [1, True, None, 1.5, b"\xff\x00", "\udcff", Timestamp(5), [1, ["x"]], {"a": "é"}]
    homes = [place.route("x", f"key{n}", {"who": value}) for n, value in enumerate(values)]
    assert homes == [place.route("x", "other", {"who": value, "more": 1}) for value in values]
    assert {len(home) for home in homes} == {1}
    assert len({home[0] for home in homes}) == 8
    without = place.route("x", "a", {"other": 1})
    assert [place.route("x", f"{n}") for n in range(20)] == [without] * 20


@pytest.mark.parametrize("name", ["message_id", "correlation_id", "timestamp"])
def test_hash_on_a_property(name: str) -> None:
    place = spread("x-consistent-hash", 4, hash_property=name)
    assert place.topology.route_needs_message("x")
    homes = {n: place.route("x", "k", properties={name: str(n)}) for n in range(200)}
    assert len({home[0] for home in homes.values()}) == 4
    assert homes == {n: place.route("x", f"{n}", properties={name: str(n)}) for n in range(200)}
    assert place.route("x", "a") == place.route("x", "b", properties={"app_id": "x"})


def test_the_first_of_several_keys_is_hashed() -> None:
    place = spread("x-consistent-hash", 4)
    assert not place.topology.route_needs_message("x")
    for key in KEYS[:50]:
        assert place.route("x", key, more=["a", "b"]) == place.route("x", key)


def test_modulus() -> None:
    place = spread("x-modulus-hash", 4)
    assert not place.topology.route_needs_message("x")
    counts = Counter(assignment(place).values())
    assert all(1_350 < counts[f"q{n}"] < 1_650 for n in range(4))
    place.bind("q0", "x", "once more")  # each binding counts
    counts = Counter(assignment(place).values())
    assert 2_200 < counts["q0"] < 2_600
    assert len({tuple(place.route("x", "k", more=[key])) for key in KEYS[:50]}) == 4  # all keys together


def test_random() -> None:
    place = spread("x-random", 4)
    assert place.topology.route_needs_message("x")
    matcher = place.topology.exchange("x").matcher
    assert isinstance(matcher, RandomMatcher)
    matcher.random = Random(9)
    counts = Counter(place.route("x", "k", more=["z"])[0] for _ in range(2_000))
    assert all(400 < counts[f"q{n}"] < 600 for n in range(4))


def test_behind_another_exchange() -> None:
    place = spread("x-consistent-hash", 4)
    place.exchange("front", "topic")
    place.topology.bind_exchange("x", "front", "order.*", {})
    for key in KEYS[:50]:
        assert place.route("front", key) == place.route("x", key)


def test_one_that_delays_spreads_as_its_type() -> None:
    place = spread("x-delayed-message", 4, x_delayed_type="x-consistent-hash", hash_property="message_id")
    x = place.topology.exchange("x")
    assert isinstance(x, Exchange)
    assert x.delays
    assert x.needs_message()
    with pytest.raises(PreconditionFailed):
        place.bind("q0", "x", "no weight")
