"""Rubbish, and valid conversations with a few things wrong in them (hostile.py says what has to hold)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.wire.methods import NAMES

from .hostile import any_frame, frames, survive
from .talker import opening

CONVERSATION = frames()
METHODS = sorted(NAMES)


def test_the_conversation_is_valid() -> None:
    """What is spoilt below was sound before."""
    talker = survive(CONVERSATION)
    assert talker.connection.close_reason == ""
    assert talker.rig.vhost.topology.queues.keys() == {"witness"}


def test_the_conversation_is_valid_in_one_piece() -> None:
    assert survive([b"".join(CONVERSATION)]).connection.close_reason == ""


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_rubbish(pieces: list[bytes]) -> None:
    survive(pieces)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_rubbish_behind_an_open_connection(pieces: list[bytes]) -> None:
    survive([CONVERSATION[0] + CONVERSATION[1], *pieces])


FRAMES = st.builds(
    any_frame, st.sampled_from([1, 1, 1, 2, 3, 8, 0, 9]), st.integers(0, 3), st.binary(max_size=60)
)
METHOD_FRAMES = st.builds(
    lambda method, channel, arguments: any_frame(1, channel, method.to_bytes(4, "big") + arguments),
    st.sampled_from(METHODS),
    st.integers(0, 3),
    st.one_of(st.just(b""), st.binary(max_size=60), st.just(bytes(20)), st.just(b"\0\0\x01q" + bytes(5))),
)


@given(
    st.lists(st.one_of(FRAMES, METHOD_FRAMES, st.sampled_from(CONVERSATION[1:])), max_size=30), st.booleans()
)
def test_frames_in_any_order(found: list[bytes], synced: bool) -> None:
    survive([opening(), CONVERSATION[1], CONVERSATION[2], *found], synced)


# (what to do, where in thousandths, how much, what with)
EDIT = st.tuples(
    st.sampled_from(["set", "flip", "insert", "delete", "repeat", "cut"]),
    st.integers(0, 999),
    st.integers(1, 12),
    st.binary(min_size=1, max_size=8),
)


def edited(data: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for what, where, much, value in edits:
        at = where * len(data) // 1_000
        if what == "set":
            data = data[:at] + value + data[at + len(value) :]
        elif what == "flip":
            data = data[:at] + bytes([data[at] ^ (1 << (much % 8))]) + data[at + 1 :] if data else data
        elif what == "insert":
            data = data[:at] + value + data[at:]
        elif what == "delete":
            data = data[:at] + data[at + much :]
        elif what == "repeat":
            data = data[:at] + data[at : at + much] * 2 + data[at + much :]
        else:
            data = data[: max(at, 1)]
    return data


@settings(max_examples=300)
@given(st.lists(EDIT, min_size=1, max_size=4), st.integers(1, 2_000), st.booleans())
def test_a_spoilt_conversation(edits: list[tuple[str, int, int, bytes]], step: int, synced: bool) -> None:
    spoilt = edited(b"".join(CONVERSATION), edits)
    survive([spoilt[at : at + step] for at in range(0, len(spoilt), step)], synced)


@settings(max_examples=300)
@given(st.data())
def test_one_spoilt_frame(data: st.DataObject) -> None:
    """The frames around it are whole, so that what is behind it is heard."""
    at = data.draw(st.integers(1, len(CONVERSATION) - 1))
    frame = CONVERSATION[at]
    spoilt = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(7, max(len(frame) - 2, 7)) if len(frame) > 8 else st.just(0))] = (
            data.draw(
                st.sampled_from([0, 1, 2, 127, 128, 255, *data.draw(st.binary(min_size=1, max_size=1))])
            )
        )
    survive([*CONVERSATION[:at], bytes(spoilt), *CONVERSATION[at + 1 :]], data.draw(st.booleans()))
