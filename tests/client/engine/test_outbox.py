"""Messages of a channel in confirm mode: as they are written, confirmed in any order, and sent again on another channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.client.engine.outbox import (
    CHUNK_BYTES,
    CONFIRMED,
    REFUSED,
    RETURNED,
    Outbox,
    Template,
    refit,
    split_messages,
)
from leveret.errors import UnexpectedFrame
from leveret.wire.frames import ContentHeader, FrameSplitter
from leveret.wire.methods import route_bytes
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.signatures import decode_method

STEM = b"0123456789"
FRAME_MAX = 131_072
MANY = 10_000_000


def template(key: str = "q", makes_id: bool = True) -> Template:
    if makes_id:
        data = encode_properties(Properties(delivery_mode=2, message_id="?" * 20))
        at = data.index(b"\x14?")
        return Template(1, route_bytes("", key), True, data[:at], data[at + 21 :], True)
    return Template(
        1, route_bytes("", key), True, encode_properties(Properties(message_id="mine")), b"", False
    )


class Read:
    """A message as a broker reads it."""

    def __init__(self, data: bytes) -> None:
        method, header, *bodies = FrameSplitter().feed(data)
        self.method = decode_method(method.payload)
        self.size_bytes = ContentHeader(header.payload).body_size_bytes
        self.properties = decode_properties(header.payload, 12)
        self.body = b"".join(frame.payload for frame in bodies)
        self.frames = len(bodies)
        self.channels = {frame.channel for frame in (method, header, *bodies)}


def read(outbox: Outbox, limit_bytes: int = MANY) -> list[Read]:
    return [Read(one) for one in split_messages(b"".join(outbox.take(limit_bytes)))]


@pytest.mark.parametrize("size_bytes", [0, 1, 100, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX])
def test_a_message_is_encoded_whole_and_once(size_bytes: int) -> None:
    outbox = Outbox(1, STEM)
    body = bytes(range(256)) * (size_bytes // 256) + bytes(size_bytes % 256)
    outbox.add(template("orders"), body, None)
    (found,) = read(outbox)
    assert found.method.name == "basic.publish"
    assert found.method.fields["routing_key"] == "orders"
    assert found.method.fields["mandatory"] is True
    assert found.properties.message_id == "0123456789" + "0" * 10 == outbox.last_id()
    assert found.properties.delivery_mode == 2
    assert (found.size_bytes, found.body) == (size_bytes, body)
    assert found.channels == {1}
    assert outbox.take(MANY) == []


def test_message_ids_count_on_beyond_what_is_prepared() -> None:
    outbox = Outbox(1, STEM)
    ids = []
    for _ in range(8194):
        outbox.add(template(), b"", None)
        ids.append(outbox.last_id())
    assert ids[4095:4098] == ["01234567890000000fff", "01234567890000001000", "01234567890000001001"]
    assert len(set(ids)) == 8194
    assert outbox.new_id() == b"01234567890000002002"


def test_a_given_message_id_is_left_alone() -> None:
    outbox = Outbox(1, STEM)
    outbox.add(template(makes_id=False), b"x", None)
    assert read(outbox)[0].properties.message_id == "mine"


def test_what_is_written_at_once_is_bounded() -> None:
    outbox = Outbox(1, STEM)
    for _ in range(100):
        outbox.add(template(), b"x" * 10_000, None)
    parts = outbox.take(2 * CHUNK_BYTES)
    assert 2 * CHUNK_BYTES <= sum(map(len, parts)) < 4 * CHUNK_BYTES
    assert outbox.unwritten()
    assert len(read(outbox)) + len(split_messages(b"".join(parts))) == 100
    assert not outbox.unwritten()


def outcomes(outbox: Outbox) -> list[tuple[object, int]]:
    found = [(one.owner, one.verdict) for one in outbox.done]
    outbox.done = []
    return found


def test_confirms_in_any_order() -> None:
    outbox = Outbox(1, STEM)
    for name in "abcde":
        outbox.add(template(), b"x", name)
    outbox.take(MANY)
    outbox.confirm(3, False, True)
    assert outcomes(outbox) == [("c", CONFIRMED)]
    assert outbox.waiting() == 4
    outbox.confirm(2, True, False)
    assert outcomes(outbox) == [("a", REFUSED), ("b", REFUSED)]
    assert outbox.waiting() == 2
    outbox.confirm(3, False, True)  # twice is nothing
    outbox.confirm(5, True, True)
    assert outcomes(outbox) == [("d", CONFIRMED), ("e", CONFIRMED)]
    assert (outbox.waiting(), outbox.waiting_bytes()) == (0, 0)
    assert (outbox.confirmed, outbox.refused) == (3, 2)


def test_a_confirm_of_many_goes_over_one_that_came_before() -> None:
    outbox = Outbox(1, STEM)
    for name in "abcd":
        outbox.add(template(), b"x", name)
    outbox.take(MANY)
    outbox.confirm(2, False, True)
    outbox.confirm(3, True, True)
    assert outcomes(outbox) == [("b", CONFIRMED), ("a", CONFIRMED), ("c", CONFIRMED)]
    assert outbox.waiting() == 1
    outbox.confirm(4, False, True)
    assert (outbox.waiting(), outbox.confirmed) == (0, 4)


def test_a_confirm_of_what_was_not_written_is_an_error() -> None:
    outbox = Outbox(1, STEM)
    outbox.add(template(), b"x", None)
    with pytest.raises(UnexpectedFrame, match="delivery tag 1"):
        outbox.confirm(1, False, True)


def test_a_returned_message_is_told_with_its_confirm() -> None:
    outbox = Outbox(1, STEM)
    for name in "ab":
        outbox.add(template(), b"x" * 20, name)
    outbox.take(MANY)
    assert outbox.returned(b"0123456789" + b"0" * 9 + b"1", "312 NO_ROUTE")
    assert not outbox.returned(b"unknown", "312 NO_ROUTE")
    outbox.confirm(2, True, True)
    assert outcomes(outbox) == [("a", CONFIRMED), ("b", RETURNED)]
    assert outbox.unroutable == 1


def test_another_channel_gets_what_is_not_confirmed_with_the_same_ids() -> None:
    outbox = Outbox(1, STEM)
    for number in range(6):
        outbox.add(template(), b"%d" % number, number)
    outbox.take(MANY)
    outbox.add(template(), b"6", 6)  # not written yet
    outbox.confirm(1, False, True)
    outbox.confirm(3, False, True)
    outcomes(outbox)
    outbox.reopen(False, FRAME_MAX)
    assert outbox.resent == 4
    found = read(outbox)
    assert [one.body for one in found] == [b"1", b"3", b"4", b"5", b"6"]
    assert [int((one.properties.message_id or "")[-10:], 16) for one in found] == [1, 3, 4, 5, 6]
    outbox.confirm(5, True, True)  # tags begin anew
    assert outcomes(outbox) == [(number, CONFIRMED) for number in (1, 3, 4, 5, 6)]


def test_careful_sends_one_by_one_until_the_guilty_one_is_found() -> None:
    outbox = Outbox(1, STEM)
    for name in "abc":
        outbox.add(template(), name.encode(), name)
    outbox.take(MANY)
    outbox.reopen(True, FRAME_MAX)
    assert [one.body for one in read(outbox)] == [b"a"]
    assert outbox.take(MANY) == []
    outbox.confirm(1, False, True)
    assert [one.body for one in read(outbox)] == [b"b"]
    assert outbox.in_flight() == 1
    assert outbox.drop_first() == "b"  # the channel was closed for it
    outbox.reopen(True, FRAME_MAX)
    assert [one.body for one in read(outbox)] == [b"c"]
    outbox.add(template(), b"d", "d")
    assert outbox.take(MANY) == []
    outbox.confirm(1, False, True)
    assert outbox.window == 0
    assert [one.body for one in read(outbox)] == [b"d"]


def test_a_smaller_frame_max_cuts_bodies_anew() -> None:
    outbox = Outbox(1, STEM)
    body = bytes(range(250)) * 80
    outbox.add(template(), body, None)
    outbox.add(template(), b"short", None)
    outbox.take(MANY)
    outbox.reopen(False, 4096)
    large, short = read(outbox)
    assert (large.body, large.frames) == (body, 5)
    assert short.body == b"short"


def test_nothing_to_cut_is_left_as_it_is() -> None:
    outbox = Outbox(1, STEM)
    outbox.add(template(), b"", None)
    (data,) = outbox.take(MANY)
    assert refit(data, 4096) is data


def test_giving_up_names_those_who_wait() -> None:
    outbox = Outbox(1, STEM)
    for name in "abc":
        outbox.add(template(), b"x", name)
    outbox.take(MANY)
    outbox.confirm(2, False, True)
    outbox.forget_owner(1)
    assert outbox.give_up() == ["c"]


@given(
    st.lists(
        st.sampled_from(["add", "take", "one", "all", "nack", "reopen", "careful", "drop"]), max_size=60
    ),
    st.data(),
)
def test_every_message_ends_once_whatever_happens(steps: list[str], data: st.DataObject) -> None:
    """Against a list: names of messages that are not ended, in order."""
    outbox = Outbox(1, STEM)
    left: list[str] = []
    sent: list[str] = []  # on this channel: by tag
    ended: list[str] = []
    count = 0
    for step in steps:
        if step == "add":
            name = f"{count}"
            outbox.add(template(), name.encode(), name)
            left.append(name)
            count += 1
        elif step == "take":
            for one in read(outbox):
                sent.append(one.body.decode())
        elif step in ("one", "all", "nack") and sent:
            tag = data.draw(st.integers(1, len(sent)))
            outbox.confirm(tag, step == "all", step != "nack")
            for name in sent[:tag] if step == "all" else [sent[tag - 1]]:
                if name in left:
                    left.remove(name)
                    ended.append(name)
        elif step in ("reopen", "careful"):
            outbox.reopen(step == "careful", FRAME_MAX)
            sent = []
        elif step == "drop" and outbox.in_flight() == 1:
            first = next(name for name in sent if name in left)
            assert outbox.drop_first() == first
            left.remove(first)
            outbox.reopen(True, FRAME_MAX)
            sent = []
        assert outbox.waiting() == len(left)
        told = [str(one.owner) for one in outbox.done]
        outbox.done = []
        assert sorted(told) == sorted(ended)
        ended = []
    outbox.reopen(False, FRAME_MAX)
    assert [one.body.decode() for one in read(outbox)] == left
