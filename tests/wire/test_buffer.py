"""Reading and writing bytes within their bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from leveret.errors import FrameError, MalformedFrame
from leveret.wire import buffer
from leveret.wire.buffer import Reader

Read = Callable[[Reader], object]
Write = Callable[[BytesWriter], None]

FIELDS: list[tuple[object, bytes, Read, Write]] = [
    (0, b"\x00", Reader.octet, lambda out: buffer.put_octet(out, 0)),
    (255, b"\xff", Reader.octet, lambda out: buffer.put_octet(out, 255)),
    (0x7FFF, b"\x7f\xff", Reader.short, lambda out: buffer.put_short(out, 0x7FFF)),
    (0x8000, b"\x80\x00", Reader.short, lambda out: buffer.put_short(out, 0x8000)),
    (0xFFFF, b"\xff\xff", Reader.short, lambda out: buffer.put_short(out, 0xFFFF)),
    (0x7FFFFFFF, b"\x7f\xff\xff\xff", Reader.long, lambda out: buffer.put_long(out, 0x7FFFFFFF)),
    (0xFFFFFFFE, b"\xff\xff\xff\xfe", Reader.long, lambda out: buffer.put_long(out, 0xFFFFFFFE)),
    (1, b"\x00" * 7 + b"\x01", Reader.longlong, lambda out: buffer.put_longlong(out, 1)),
    ((1 << 64) - 1, b"\xff" * 8, Reader.longlong, lambda out: buffer.put_longlong(out, (1 << 64) - 1)),
    ((1 << 63), b"\x80" + b"\x00" * 7, Reader.timestamp, lambda out: buffer.put_longlong(out, 1 << 63)),
    ("", b"\x00", Reader.shortstr, lambda out: buffer.put_shortstr(out, "")),
    ("aé", b"\x03a\xc3\xa9", Reader.shortstr, lambda out: buffer.put_shortstr(out, "aé")),
    ("aé", b"\x03a\xc3\xa9", Reader.name, lambda out: buffer.put_shortstr(out, "aé")),
    ("\udcff", b"\x01\xff", Reader.shortstr, lambda out: buffer.put_shortstr(out, "\udcff")),
    (b"\xff", b"\x01\xff", Reader.shortstr_bytes, lambda out: buffer.put_shortstr_bytes(out, b"\xff")),
    (
        b"x" * 300,
        b"\x00\x00\x01\x2c" + b"x" * 300,
        Reader.longstr,
        lambda out: buffer.put_longstr(out, b"x" * 300),
    ),
]


@pytest.mark.parametrize(("value", "data", "read", "write"), FIELDS)
def test_a_field_is_written_and_read(value: object, data: bytes, read: Read, write: Write) -> None:
    out = BytesWriter()
    write(out)
    assert out.getvalue() == data
    whole = Reader(data)
    assert read(whole) == value
    whole.finish()
    within = Reader(b"ab" + data + b"more", 2)
    assert read(within) == value
    assert within.remaining() == 4
    assert within.rest() == b"more"


@pytest.mark.parametrize(("value", "data", "read", "write"), FIELDS)
def test_a_field_that_is_cut_anywhere_is_malformed(
    value: object, data: bytes, read: Read, write: Write
) -> None:
    for size in range(len(data)):
        with pytest.raises(MalformedFrame):
            read(Reader(data[:size]))
        with pytest.raises(MalformedFrame):  # the bytes are there, but behind the end
            read(Reader(data + b"behind", 0, size))


def test_signed_longlong() -> None:
    assert Reader(b"\xff" * 8).signed_longlong() == -1


@pytest.mark.parametrize(("pos", "end"), [(0, 4), (4, -1), (3, 2), (-1, 3)])
def test_a_range_outside_of_the_data_is_malformed(pos: int, end: int) -> None:
    with pytest.raises(MalformedFrame):
        Reader(b"abc", pos, end)


def test_bytes_behind_the_last_field_are_malformed() -> None:
    reader = Reader(b"abc")
    reader.octet()
    with pytest.raises(MalformedFrame, match="2 bytes behind the last field"):
        reader.finish()


def test_a_negative_size_does_not_step_back() -> None:
    reader = Reader(b"abc", 2)
    with pytest.raises(MalformedFrame):
        reader.take(-1)
    with pytest.raises(MalformedFrame):
        reader.raw(-2)


@pytest.mark.parametrize("name", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"a\xc3"])
def test_a_name_has_to_be_utf8(name: bytes) -> None:
    with pytest.raises(FrameError, match="Malformed UTF-8 in shortstr"):
        Reader(bytes([len(name)]) + name).name()


@pytest.mark.parametrize(
    "write",
    [
        lambda out: buffer.put_octet(out, 256),
        lambda out: buffer.put_octet(out, -1),
        lambda out: buffer.put_short(out, 65536),
        lambda out: buffer.put_short(out, -1),
        lambda out: buffer.put_long(out, 1 << 32),
        lambda out: buffer.put_long(out, -1),
        lambda out: buffer.put_longlong(out, 1 << 64),
        lambda out: buffer.put_longlong(out, -1),
        lambda out: buffer.put_shortstr(out, "é" * 128),
        lambda out: buffer.put_shortstr_bytes(out, b"x" * 256),
    ],
)
def test_what_does_not_fit_its_field_is_a_value_error_and_writes_nothing(write: Write) -> None:
    out = BytesWriter()
    with pytest.raises(ValueError):
        write(out)
    assert len(out) == 0


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("short", b"\x05short"),
        ("x" * 300, b"\xff" + b"x" * 255),
        ("é" * 128, b"\xfe" + "é".encode() * 127),
        ("\udcff", b"\x01?"),
    ],
)
def test_a_reply_text_always_fits(text: str, written: bytes) -> None:
    out = BytesWriter()
    buffer.put_reply_text(out, text)
    assert out.getvalue() == written


def test_patching_a_size() -> None:
    out = BytesWriter()
    out.write(b"a....b")
    buffer.patch_long(out, 1, 0xFE020304)
    assert out.getvalue() == b"a\xfe\x02\x03\x04b"


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_bits_begin_with_the_lowest(bits: list[bool]) -> None:
    assert buffer.pack_bits(*bits) == sum(1 << n for n, bit in enumerate(bits) if bit)


@given(st.binary(max_size=255))
def test_any_bytes_pass_through_a_text_unchanged(data: bytes) -> None:
    out = BytesWriter()
    buffer.put_shortstr(out, Reader(bytes([len(data)]) + data).shortstr())
    assert out.getvalue()[1:] == data
