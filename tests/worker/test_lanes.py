"""One message of a group at a time, in order; what is of no group waits for nobody."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from leveret.worker.lanes import Lanes


@dataclass(eq=False)
class Of:
    """A message of a group."""

    name: str
    headers: dict[str, object] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        return self.name

    @property
    def raw(self) -> bytes:
        return b"body"


def of(name: str, group: object, header: str = "x-group-id") -> Of:
    return Of(name, {header: group})


def test_a_group_goes_on_in_its_order() -> None:
    lanes = Lanes(True)
    first, second, third, other = of("1", "a"), of("2", "a"), of("3", "a"), of("4", "b")
    assert lanes.enter(first)
    assert not lanes.enter(second)
    assert not lanes.enter(third)
    assert lanes.enter(other)
    assert lanes.leave(first) is second
    assert lanes.leave(first) is None  # told twice
    assert lanes.leave(other) is None
    assert lanes.leave(second) is third
    assert lanes.leave(third) is None
    assert lanes.enter(first)


def test_groups_compare_as_values_of_the_header_that_was_chosen() -> None:
    lanes = Lanes("customer")
    assert lanes.enter(of("1", 1, "customer"))
    assert lanes.enter(of("2", "1", "customer"))
    assert not lanes.enter(of("3", 1, "customer"))


def test_what_is_of_no_group_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    lanes = Lanes("customer")
    for name in "123":
        message = of(name, "a")  # another header
        assert lanes.enter(message)
        assert lanes.leave(message) is None
    assert caplog.text.count("without the header 'customer'") == 1


def test_what_waits_can_be_given_back() -> None:
    lanes = Lanes(True)
    first, second = of("1", "a"), of("2", "a")
    lanes.enter(first)
    lanes.enter(second)
    assert lanes.clear() == [second]
    assert lanes.leave(first) is None


def test_what_was_behind_one_that_goes_back_is_held_until_that_comes_again() -> None:
    lanes = Lanes(True)
    first, second, third, other = of("1", "a"), of("2", "a"), of("3", "a"), of("4", "b")
    assert not lanes.holds(first)
    assert lanes.enter(first)
    assert not lanes.enter(second)
    assert lanes.hold(first) == [second]
    assert lanes.leave(first) is None
    assert lanes.holds(third)  # it was on its way
    assert not lanes.holds(other)
    assert not lanes.holds(of("1", "a"))
    assert lanes.enter(first)
    assert not lanes.holds(second)
    assert not lanes.enter(second)
    assert lanes.leave(first) is second


def test_a_group_that_begins_anew_is_held_no_more() -> None:
    lanes = Lanes(True)
    first = of("1", "a")
    lanes.enter(first)
    assert lanes.hold(first) == []
    again = Of("2", {"x-group-id": "a", "x-group-first": True})  # the first one is dead meanwhile
    assert not lanes.holds(again)
    assert not lanes.holds(of("3", "a"))


def test_what_is_of_no_group_or_does_not_run_holds_nothing() -> None:
    lanes = Lanes(True)
    none, first, second = Of("0"), of("1", "a"), of("2", "a")
    assert lanes.hold(none) == []
    lanes.enter(first)
    lanes.enter(second)
    assert lanes.hold(second) == []
    assert lanes.leave(first) is second


def test_groups_that_never_come_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leveret.worker.lanes.MOST_HELD", 2)
    lanes = Lanes(True)
    for group in "abc":
        first = of("1", group)
        lanes.enter(first)
        lanes.hold(first)
    assert not lanes.holds(of("2", "a"))
    assert lanes.holds(of("2", "b"))
