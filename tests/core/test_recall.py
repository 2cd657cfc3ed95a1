"""The journal's changes: what is written, that replaying gives the same again, and that a snapshot does too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from leveret.core.exchange import DELAYED, KINDS
from leveret.core.topology import Topology
from leveret.errors import Damaged, PeerError
from leveret.wire.field import Timestamp
from tests.core.places import FakeQueue, Place

ARGUMENTS: dict[str, object] = {
    "s": "text\udcff",
    "b": b"\x00\xff",
    "i": -5,
    "l": 1 << 40,
    "t": True,
    "f": 0.5,
    "d": Decimal("1.50"),
    "v": None,
    "T": Timestamp(1 << 40),
    "A": [1, "x", [None], {"k": b""}],
    "F": {"deep": {"deeper": [Decimal(3)]}},
}


def durable_state(t: Topology) -> object:
    """All that has to come back, as values that compare."""
    return (
        {
            x.name: (x.kind, x.qid, x.auto_delete, x.internal, x.alternate, dict(x.arguments))
            for x in t.exchanges.values()
            if x.durable
        },
        {
            q.name: (q.qid, q.auto_delete, q.queue_type, dict(q.arguments))
            for q in t.queues.values()
            if q.durable
        },
        {
            (
                b.source.name,
                b.destination.is_queue,
                b.destination.name,
                b.key,
                repr(sorted(b.arguments.items())),
            )
            for b in t.bindings()
            if b.source.name and b.durable()
        },
    )


def replayed(ops: list[bytes]) -> Place:
    place = Place()
    for op in ops:
        place.topology.apply(op)
    return place


def test_arguments_come_back_exactly() -> None:
    place = Place()
    place.exchange("x", "headers", internal=True, arguments=ARGUMENTS | {"alternate-exchange": "y"})
    place.queue("q", arguments={"x-queue-type": "quorum"} | ARGUMENTS)
    place.topology.bind_queue("q", "x", "k", ARGUMENTS, "me")
    for ops in (place.journal.ops, place.topology.snapshot()):
        again = replayed(ops).topology
        assert durable_state(again) == durable_state(place.topology)
        x = again.exchanges["x"]
        assert (x.alternate, x.internal, again.queues["q"].queue_type) == ("y", True, "quorum")
        assert [b.arguments for b in x.bindings()] == [ARGUMENTS]
        again.unbind_queue("q", "x", "k", ARGUMENTS, "me")
        assert x.bindings() == []


def test_only_what_is_durable_is_journaled() -> None:
    place = Place()
    t = place.topology
    place.queue("brief", durable=False)
    place.queue("mine", exclusive=True)
    place.exchange("x", "fanout", durable=False)
    place.bind("brief", "amq.fanout")
    place.bind("brief", "x")
    place.bind("mine", "amq.fanout")
    place.queue("q")
    assert len(place.journal.ops) == 1
    place.bind("q", "x")
    assert len(place.journal.ops) == 1
    place.bind("q", "amq.fanout")
    assert len(place.journal.ops) == 2
    t.delete_queue("brief", False, False, "me")
    t.delete_queue("mine", False, False, "me")
    t.delete_exchange("x", False)
    assert len(place.journal.ops) == 2


def test_an_exchange_that_keeps_something_has_a_number() -> None:
    """Of the queues' sequence, given once, also if it is not durable; a redeclaration takes none."""
    place = Place()
    delayed: dict[str, object] = {"x-delayed-type": "topic"}
    place.exchange("one", "x-delayed-message", arguments=delayed)
    place.queue("q")
    place.exchange("brief", "x-delayed-message", durable=False, arguments=delayed)
    place.exchange("one", "x-delayed-message", arguments=delayed)
    place.exchange("plain")
    assert place.factory.keeping == {"one": 1, "brief": 3}
    assert [place.topology.exchange(name).qid for name in ("one", "brief", "plain")] == [1, 3, 0]
    place.bind("q", "one", "a.*")
    for ops in (place.journal.ops, place.topology.snapshot()):
        again = replayed(ops)
        assert again.factory.keeping == {"one": 1}
        assert again.topology.exchange("one").delays
        assert again.route("one", "a.b") == ["q"]
    assert replayed(place.topology.snapshot()).ids.take() == 4
    place.topology.delete_exchange("one", False)
    place.topology.delete_exchange("brief", False)
    assert place.factory.keeping == {}
    again = replayed(place.journal.ops)
    assert again.factory.keeping == {}
    assert again.ids.take() == 3  # the number of what was not durable may be given again


def test_position_is_that_of_the_last_change_and_none_without() -> None:
    place = Place()
    t = place.topology
    place.queue("q")
    assert t.position == 1
    place.queue("q")
    assert t.position == 0
    place.exchange("x", "fanout", auto_delete=True)
    place.bind("q", "x")
    assert t.position == 3
    place.queue("brief", durable=False)
    assert t.position == 0
    t.delete_queue("q", False, False, "me")  # and the exchange with it
    assert t.position == len(place.journal.ops) == 5
    with pytest.raises(PeerError):
        place.queue("z", passive=True)
    assert t.position == 0


def test_what_went_along_goes_along_in_replay() -> None:
    place = Place()
    place.exchange("one", "fanout", auto_delete=True)
    place.exchange("two", "fanout", auto_delete=True)
    place.queue("q")
    place.topology.bind_exchange("two", "one", "", {})
    place.bind("q", "two")
    place.topology.delete_queue("q", False, False, "me")
    again = replayed(place.journal.ops)
    assert again.own_exchanges() == set()
    assert again.factory.gone == ["q"]


def test_numbers_are_never_given_twice() -> None:
    place = Place()
    place.queue("one")
    gone = place.queue("two").qid
    place.topology.delete_queue("two", False, False, "me")
    for ops in (place.journal.ops, place.topology.snapshot()):
        assert replayed(ops).queue("three").qid > gone


def test_replay_of_a_deletion_spares_a_namesake() -> None:
    place = Place()
    place.queue("q")
    place.topology.delete_queue("q", False, False, "me")
    deletion = place.journal.ops[-1]
    q = place.queue("q")
    place.topology.apply(deletion)
    assert place.topology.queues["q"] is q
    assert not q.dropped


def test_replay_journals_nothing_and_twice_is_once() -> None:
    place = Place()
    place.queue("q")
    place.exchange("x", "topic")
    place.bind("q", "x", "a.#")
    place.bind("q", "amq.direct", "k")
    place.unbind("q", "amq.direct", "k")
    again = replayed([op for op in place.journal.ops for _ in range(2)])
    assert durable_state(again.topology) == durable_state(place.topology)
    assert again.journal.ops == []


def test_auto_delete_exchange_whose_bindings_did_not_come_back() -> None:
    place = Place()
    place.exchange("gone", "fanout", auto_delete=True)
    place.exchange("new", "fanout", auto_delete=True)
    place.exchange("kept", "fanout", auto_delete=True)
    place.queue("q")
    place.queue("mine", exclusive=True)
    place.bind("q", "kept")
    place.bind("mine", "gone")
    for ops in (place.journal.ops, place.topology.snapshot()):
        again = replayed(ops)
        assert again.own_exchanges() == {"gone", "new", "kept"}
        again.topology.recovered()
        assert again.own_exchanges() == {"new", "kept"}
        assert replayed(ops + again.journal.ops).own_exchanges() == {"new", "kept"}


@pytest.mark.parametrize(
    "op",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(5),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([99, b"x"]),
        msgspec.msgpack.encode([2]),
        msgspec.msgpack.encode([2, "text"]),
        msgspec.msgpack.encode([1, b"x", b"nope", False, False, b""]),
        msgspec.msgpack.encode([1, b"x", b"topic", 1, False, b""]),
        msgspec.msgpack.encode([9, b"x", b"topic", False, False, b""]),
        msgspec.msgpack.encode([9, b"x", b"x-delayed-message", False, False, b"", 5]),
        msgspec.msgpack.encode([3, b"q", b"1", False, b"", b"classic"]),
    ],
)
def test_damage_is_named(op: bytes) -> None:
    with pytest.raises(Damaged):
        Place().topology.apply(op)


NAMES = st.sampled_from(["a", "b", "c"])
KEYS = st.sampled_from(["k", "k.l", "#", "", "5"])
FLAGS = st.booleans()
TABLES = st.sampled_from([{}, {"n": 1}, {"n": True}])


class Histories(RuleBasedStateMachine):
    """Whatever is done, the journal and a snapshot each make the same again."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Place()
        self.topology = self.place.topology

    @rule(name=NAMES, kind=st.sampled_from(sorted(KINDS)), durable=FLAGS, auto=FLAGS)
    def declare_exchange(self, name: str, kind: str, durable: bool, auto: bool) -> None:
        arguments: dict[str, object] = {"x-delayed-type": "topic"} if kind == DELAYED else {}
        self.attempt(
            lambda: self.place.exchange(name, kind, durable=durable, auto_delete=auto, arguments=arguments)
        )

    @rule(name=NAMES, durable=FLAGS, exclusive=FLAGS, auto=FLAGS)
    def declare_queue(self, name: str, durable: bool, exclusive: bool, auto: bool) -> None:
        self.attempt(lambda: self.place.queue(name, durable=durable, exclusive=exclusive, auto_delete=auto))

    @rule(queue=NAMES, exchange=NAMES, key=KEYS, table=TABLES)
    def bind(self, queue: str, exchange: str, key: str, table: dict[str, object]) -> None:
        self.attempt(lambda: self.topology.bind_queue(queue, exchange, key, table, "me"))

    @rule(queue=NAMES, exchange=NAMES, key=KEYS, table=TABLES)
    def unbind(self, queue: str, exchange: str, key: str, table: dict[str, object]) -> None:
        self.attempt(lambda: self.topology.unbind_queue(queue, exchange, key, table, "me"))

    @rule(to=NAMES, source=NAMES, key=KEYS)
    def bind_exchange(self, to: str, source: str, key: str) -> None:
        self.attempt(lambda: self.topology.bind_exchange(to, source, key, {}))

    @rule(to=NAMES, source=NAMES, key=KEYS)
    def unbind_exchange(self, to: str, source: str, key: str) -> None:
        self.attempt(lambda: self.topology.unbind_exchange(to, source, key, {}))

    @rule(name=NAMES)
    def delete_queue(self, name: str) -> None:
        self.attempt(lambda: self.topology.delete_queue(name, False, False, "me"))

    @rule(name=NAMES)
    def delete_exchange(self, name: str) -> None:
        self.attempt(lambda: self.topology.delete_exchange(name, False))

    @rule(name=NAMES)
    def last_consumer_goes(self, name: str) -> None:
        q = self.topology.queues.get(name)
        if isinstance(q, FakeQueue):
            q.had_consumers = True
            self.topology.consumer_gone(q)

    def attempt(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(PeerError):
            act()

    @invariant()
    def comes_back(self) -> None:
        expected = durable_state(self.topology)
        assert self.place.factory.keeping == {
            x.name: x.qid for x in self.topology.exchanges.values() if x.delays
        }
        assert durable_state(replayed(self.place.journal.ops).topology) == expected
        snapshot = self.topology.snapshot()
        again = replayed(snapshot).topology
        assert durable_state(again) == expected
        assert sorted(again.snapshot()) == sorted(snapshot)

    @invariant()
    def counts_agree(self) -> None:
        for x in self.topology.exchanges.values():
            assert x.to_exchanges == sum(not b.destination.is_queue for b in x.bindings())
        destinations = [*self.topology.exchanges.values(), *self.topology.queues.values()]
        for d in destinations:
            for name, n in (d.sources or {}).items():
                assert n == len(self.topology.exchanges[name].by_destination[d]) > 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
