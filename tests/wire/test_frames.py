"""Frames cut from any chunking of the input."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pamqp.body
import pamqp.commands
import pamqp.frame
import pamqp.header
import pamqp.heartbeat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from leveret.errors import FrameError, MalformedFrame
from leveret.wire import frames
from leveret.wire.frames import ContentHeader, Frame, FrameSplitter, body_frames, content_header
from leveret.wire.properties import Properties, encode_properties

SOME = [
    (Frame(1, 1, b"\x00\x5a\x00\x0a"), b"\x01\x00\x01\x00\x00\x00\x04\x00\x5a\x00\x0a\xce"),
    (Frame(2, 0xFFFF, b""), b"\x02\xff\xff\x00\x00\x00\x00\xce"),
    (Frame(3, 0x8000, b"\xce" * 300), b"\x03\x80\x00\x00\x00\x01\x2c" + b"\xce" * 300 + b"\xce"),
    (Frame(8, 0, b""), frames.HEARTBEAT),
]
ALL_FRAMES = [frame for frame, _ in SOME]
ALL_BYTES = b"".join(data for _, data in SOME)


def test_frames_whole_byte_by_byte_and_with_the_start_of_another() -> None:
    assert FrameSplitter().feed(ALL_BYTES) == ALL_FRAMES
    splitter = FrameSplitter(4096)
    assert [frame for octet in ALL_BYTES for frame in splitter.feed(bytes([octet]))] == ALL_FRAMES
    assert splitter.waiting_bytes() == 0
    assert splitter.feed(ALL_BYTES + b"\x01\x00") == ALL_FRAMES
    assert splitter.waiting_bytes() == 2
    assert splitter.feed(SOME[0][1][2:]) == [Frame(1, 0x0001, b"\x00\x5a\x00\x0a")]


@given(st.lists(st.integers(0, len(ALL_BYTES)), max_size=8))
def test_frames_cut_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(ALL_BYTES)]
    splitter = FrameSplitter()
    found: list[Frame] = []
    for start, stop in pairwise(places):
        found += splitter.feed(ALL_BYTES[start:stop])
    assert found == ALL_FRAMES


def test_nothing_in_gives_nothing_out() -> None:
    assert FrameSplitter().feed(b"") == []
    assert FrameSplitter().feed(ALL_BYTES[:11]) == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            b"\x01\x00\x01\x00\x00\x00\x02\x00\xff\x00",
            "type 1, all octets = <<0,255>>: {invalid_frame_end_marker,0}",
        ),
        (
            b'\x03\x00\x01\x00\x00\x00\x14aaaaaaaa"aaaaaaaaaaa\xcd',
            'type 3, first 16 octets = <<"aaaaaaaa\\"aaaaaaa">>: {invalid_frame_end_marker,205}',
        ),
        (b"\x04\x00\x01\x00\x00\x00\x00\xce", "type 4, all octets = <<>>: unknown_frame"),
        (b"\x00\x00\x01\x00\x00\x00\x00\xce", "type 0, all octets = <<>>: unknown_frame"),
        (b"\x01\x00\x01\x00\x00\x10\x01", "type 1, all octets = <<>>: {frame_too_large,4097,4088}"),
        (b"\x01\x00\x01\xff\xff\xff\xff", "type 1, all octets = <<>>: {frame_too_large,4294967295,4088}"),
    ],
)
def test_frames_that_are_none_are_refused_in_rabbitmqs_words(data: bytes, text: str) -> None:
    with pytest.raises(FrameError) as caught:
        FrameSplitter(4096).feed(data)
    assert caught.value.text == text


def test_eight_bytes_too_many_pass_as_in_rabbitmq() -> None:
    data = b"\x03\x00\x01\x00\x00\x10\x00" + bytes(4096) + b"\xce"
    assert len(FrameSplitter(4096).feed(data)) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_frames_or_a_frame_error(data: bytes) -> None:
    with suppress(FrameError):
        FrameSplitter(4096).feed(data)


def test_header_and_heartbeat_are_those_of_pamqp() -> None:
    assert pamqp.header.ProtocolHeader(0, 9, 1).marshal() == frames.PROTOCOL_HEADER
    assert pamqp.heartbeat.Heartbeat.marshal() == frames.HEARTBEAT


@pytest.mark.parametrize("size", [0, 1, 1 << 32, (1 << 63) - 1])
def test_a_content_header(size: int) -> None:
    out = BytesWriter()
    properties = encode_properties(Properties(content_type="a", priority=1))
    content_header(out, 0x8001, size, properties)
    theirs = pamqp.header.ContentHeader(
        0, size, pamqp.commands.Basic.Properties(content_type="a", priority=1)
    )
    assert out.getvalue() == pamqp.frame.marshal(theirs, 0x8001)
    [frame] = FrameSplitter().feed(out.getvalue())
    header = ContentHeader(frame.payload)
    assert (frame.kind, frame.channel) == (2, 0x8001)
    assert (header.class_id, header.body_size_bytes, header.properties) == (60, size, properties)


def test_the_size_in_a_content_header_is_unsigned() -> None:
    assert ContentHeader(b"\x00\x3c\x00\x00" + b"\xff" * 8).body_size_bytes == (1 << 64) - 1


def test_a_content_header_that_is_cut_or_has_a_weight() -> None:
    for size in range(12):
        with pytest.raises(MalformedFrame):
            ContentHeader(bytes(size))
    with pytest.raises(MalformedFrame, match="weight"):
        ContentHeader(b"\x00\x3c\x00\x01" + bytes(10))


@pytest.mark.parametrize(
    ("size", "frame_max", "cut"),
    [
        (0, 4096, []),
        (0, 0, []),
        (1, 9, [1]),
        (1, 4096, [1]),
        (4088, 4096, [4088]),
        (4089, 4096, [4088, 1]),
        (8176, 4096, [4088, 4088]),
        (200_000, 0, [200_000]),
        (3, 9, [1, 1, 1]),
    ],
)
def test_a_body_is_cut_to_the_frame_max(size: int, frame_max: int, cut: list[int]) -> None:
    body = bytes(n % 251 for n in range(size))
    out = BytesWriter()
    body_frames(out, 7, body, frame_max)
    found = FrameSplitter().feed(out.getvalue())
    assert [len(frame.payload) for frame in found] == cut
    assert b"".join(frame.payload for frame in found) == body
    assert {(frame.kind, frame.channel) for frame in found} <= {(3, 7)}
    if len(cut) == 1:
        assert out.getvalue() == pamqp.frame.marshal(pamqp.body.ContentBody(body), 7)


def test_frames_without_room_for_a_body() -> None:
    with pytest.raises(ValueError, match="no room"):
        body_frames(BytesWriter(), 1, b"x", 8)
