"""What a connection writes besides messages: acks become few, in any order of settling, and never cover too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leveret.client.engine.output import Output, Settling
from leveret.wire.frames import FrameSplitter
from leveret.wire.signatures import decode_method

Told = tuple[str, int, bool]


class Asked:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def told(output: Output) -> list[Told]:
    """(method, tag, multiple or requeue)"""
    found: list[Told] = []
    for frame in FrameSplitter().feed(output.take()):
        method = decode_method(frame.payload)
        bit = method.fields["multiple"] if method.name == "basic.ack" else method.fields["requeue"]
        tag = method.fields["delivery_tag"]
        assert isinstance(tag, int)
        found.append((method.name, tag, bool(bit)))
    return found


def opened(deliveries: int) -> tuple[Output, Settling, Asked]:
    asked = Asked()
    output = Output(asked)
    settling = Settling(7, output)
    for _ in range(deliveries):
        settling.delivered()
    return output, settling, asked


def test_acks_in_turn_become_one() -> None:
    output, settling, asked = opened(5)
    for tag in (1, 2, 3):
        settling.ack(tag)
    assert asked.times == 1
    assert told(output) == [("basic.ack", 3, True)]
    assert told(output) == []
    settling.ack(4)
    assert asked.times == 2
    assert told(output) == [("basic.ack", 4, True)]
    assert settling.unsettled == 1


def test_acks_out_of_turn_are_told_at_once_and_later_covered() -> None:
    output, settling, _ = opened(6)
    settling.ack(3)
    settling.ack(5)
    assert told(output) == [("basic.ack", 3, False), ("basic.ack", 5, False)]
    settling.ack(1)
    settling.ack(2)
    assert told(output) == [("basic.ack", 2, True)]
    settling.ack(4)
    assert told(output) == [("basic.ack", 4, True)]
    settling.ack(6)
    assert told(output) == [("basic.ack", 6, True)]


def test_acks_out_of_turn_join_if_the_gap_closes_in_time() -> None:
    output, settling, _ = opened(4)
    for tag in (2, 4, 3, 1):
        settling.ack(tag)
    assert told(output) == [("basic.ack", 4, True)]


def test_a_nack_stands_in_its_place() -> None:
    output, settling, _ = opened(5)
    settling.ack(1)
    settling.nack(3, True)
    settling.ack(2)
    settling.nack(4, False)
    settling.ack(5)
    assert told(output) == [
        ("basic.ack", 1, True),
        ("basic.nack", 3, True),
        ("basic.ack", 2, True),
        ("basic.nack", 4, False),
        ("basic.ack", 5, True),
    ]
    assert (settling.acked, settling.requeued, settling.nacked) == (3, 1, 1)


def test_a_channel_that_is_gone_is_told_nothing() -> None:
    output, settling, _ = opened(2)
    settling.ack(1)
    settling.ack(2)
    settling.alive = False
    assert told(output) == []


def test_who_wants_to_is_told_when_all_is_settled() -> None:
    output, settling, _ = opened(2)
    settling.ending = True
    settling.ack(2)
    assert output.emptied == []
    settling.nack(1, True)
    assert output.emptied == [settling]


@given(st.permutations(range(1, 13)), st.lists(st.sampled_from("annrf"), min_size=12, max_size=30))
def test_every_delivery_is_told_once_as_it_was_settled(order: list[int], steps: list[str]) -> None:
    """Against what a broker does: an ack with `multiple` takes all that are left up to its tag, itself one of them."""
    output, settling, _ = opened(12)
    outstanding = set(range(1, 13))
    wanted: dict[int, str] = {}
    found: dict[int, str] = {}

    def tell() -> None:
        for method, tag, bit in told(output):
            assert tag in outstanding
            if method == "basic.ack":
                covered = {each for each in outstanding if each <= tag} if bit else {tag}
                found.update(dict.fromkeys(covered, "ack"))
                outstanding.difference_update(covered)
            else:
                found[tag] = "requeue" if bit else "drop"
                outstanding.discard(tag)

    left = list(order)
    for step in steps:
        if step == "f":
            tell()
        elif left:
            tag = left.pop()
            wanted[tag] = {"a": "ack", "n": "requeue", "r": "drop"}[step]
            if step == "a":
                settling.ack(tag)
            else:
                settling.nack(tag, step == "n")
    tell()
    assert found == wanted
