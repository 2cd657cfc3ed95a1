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
