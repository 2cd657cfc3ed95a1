"""Where STOMP frames begin and end, at every length of what has come, and what the broker's own look like."""

from __future__ import annotations

import pytest
from librt.strings import BytesWriter

from leveret.errors import MalformedFrame
from leveret.limits import COMMAND_BYTES, HEADER_BLOCK_BYTES
from leveret.wire.stomp import (
    block_of,
    command_of,
    digits_of,
    frame,
    frame_start,
    head_end,
    put_receipt,
)

HEADS = (
    b"SEND\n\n",
    b"SEND\r\n\r\n",
    b"SEND\n\r\n",
    b"SEND\na:b\n\n",
    b"SEND\r\na:b\r\n\r\n",
    b"SEND\na:b\r\nc:\n\r\n",
    b"SEND\r\na:b\nc:d\n\n",
)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_ends_at_its_first_empty_line(head: bytes) -> None:
    for behind in (b"", b"\0", b"body\n\nmore\0", b"\n\n\0", b"\r\n\r\n\0", b"x\n\r\n\0"):
        data = b"??" + head + behind
        assert head_end(data, 2, len(data)) == 2 + len(head)
    for cut in range(len(head)):
        assert head_end(head[:cut], 0, cut) == -1


@pytest.mark.parametrize("head", HEADS)
def test_the_first_line_is_the_command(head: bytes) -> None:
    assert command_of(head) == b"SEND"
    assert block_of(head) == head[5 if head[4:5] == b"\n" else 6 :]


@pytest.mark.parametrize(
    ("noise", "start"),
    [(b"", 0), (b"\n", 1), (b"\r\n", 2), (b"\0", 1), (b"\n\0\r\n\n", 5)],
)
def test_line_ends_between_frames_are_passed_over(noise: bytes, start: int) -> None:
    data = noise + b"SEND\n"
    assert frame_start(data, 0, len(data)) == start
    assert frame_start(noise, 0, len(noise)) == len(noise)


def test_a_carriage_return_waits_for_its_line_feed() -> None:
    assert frame_start(b"\n\r", 0, 2) == 1
    with pytest.raises(MalformedFrame):
        frame_start(b"\rS", 0, 2)


def test_tls_is_told_from_a_frame() -> None:
    with pytest.raises(MalformedFrame, match="TLS"):
        frame_start(b"\x16\x03\x01", 0, 3)


def test_a_first_line_that_never_ends_is_no_command() -> None:
    data = b"x" * (COMMAND_BYTES + 2)
    assert head_end(data, 0, len(data)) == -1
    data += b"x"
    with pytest.raises(MalformedFrame, match="no command"):
        head_end(data, 0, len(data))


def test_headers_that_never_end_are_too_many() -> None:
    data = b"SEND\n" + b"a:b\n" * (HEADER_BLOCK_BYTES // 4 - 2)
    assert head_end(data, 0, len(data)) == -1
    data += b"a:b\n" * 16
    with pytest.raises(MalformedFrame, match="more than 65536 bytes"):
        head_end(data, 0, len(data))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"123456789012345678", 123456789012345678),
        (b"1234567890123456789", -1),
        (b"", -1),
        (b"-1", -1),
        (b"1a", -1),
        (b" 1", -1),
    ],
)
def test_numbers(text: bytes, number: int) -> None:
    assert digits_of(text) == number


def test_frames_of_ours() -> None:
    assert frame(b"ERROR", [(b"message", b"a:b")], b"x\0y", 12) == (
        b"ERROR\nmessage:a\\cb\ncontent-length:3\n\nx\0y\0\n"
    )
    assert frame(b"CONNECTED", [(b"version", b"1.0")], b"", 10) == b"CONNECTED\nversion:1.0\n\n\0\n"
    out = BytesWriter()
    put_receipt(out, b"77")
    assert out.getvalue() == b"RECEIPT\nreceipt-id:77\n\n\0\n"
