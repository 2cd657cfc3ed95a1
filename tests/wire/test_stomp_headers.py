"""STOMP's header lines: every byte in every version, what is refused and why, and against a second reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from leveret.errors import MalformedFrame
from leveret.limits import HEADER_BLOCK_BYTES, HEADER_LINE_BYTES, HEADERS_PER_FRAME
from leveret.wire.stomp_headers import RAW, escape, parse_headers, put_header, value_of

from . import stomp_oracle

VERSIONS = (RAW, 10, 11, 12)

READ = [
    (b"", {v: [] for v in VERSIONS}),
    (b"a:b", {v: [(b"a", b"b")] for v in VERSIONS}),
    (b"a:b\n", {v: [(b"a", b"b")] for v in VERSIONS}),
    (b"a:b\r\nc:d\r\n", {v: [(b"a", b"b"), (b"c", b"d")] for v in VERSIONS}),
    (b"a:b\nc:d\r\ne:f", {v: [(b"a", b"b"), (b"c", b"d"), (b"e", b"f")] for v in VERSIONS}),
    (b"a:1\nb:2\na:3\nb:\n", {v: [(b"a", b"1"), (b"b", b"2")] for v in VERSIONS}),
    (b"a:\n", {v: [(b"a", b"")] for v in VERSIONS}),
    (b"a:b:c::\n", {v: [(b"a", b"b:c::")] for v in VERSIONS}),
    (
        b"a : b \n",
        {RAW: [(b"a ", b" b ")], 10: [(b"a ", b"b ")], 11: [(b"a ", b" b ")], 12: [(b"a ", b" b ")]},
    ),
    (b"a:\t b\n", {RAW: [(b"a", b"\t b")], 10: [(b"a", b"b")], 12: [(b"a", b"\t b")]}),
    (
        b"\\c\\\\\\n:\\n\\c\\\\",
        {
            RAW: [(b"\\c\\\\\\n", b"\\n\\c\\\\")],
            10: [(b"\\c\\\\\\n", b"\\n\\c\\\\")],
            11: [(b":\\\n", b"\n:\\")],
            12: [(b":\\\n", b"\n:\\")],
        },
    ),
    (b"a:\\r", {RAW: [(b"a", b"\\r")], 10: [(b"a", b"\\r")], 11: [(b"a", b"\r")], 12: [(b"a", b"\r")]}),
    (b"a:\\\\r\\\\n\\\\\\\\", {11: [(b"a", b"\\r\\n\\\\")], 12: [(b"a", b"\\r\\n\\\\")]}),
    (b"a:b\rc", {RAW: [(b"a", b"b\rc")], 10: [(b"a", b"b\rc")], 11: [(b"a", b"b\rc")]}),
    (b"\xff\xc3:\x80", {v: [(b"\xff\xc3", b"\x80")] for v in VERSIONS}),
    (b"a\\c:1\na\\c:2", {12: [(b"a:", b"1")]}),
]

REFUSED = [
    (b"a", VERSIONS, "a header without a colon: 'a'"),
    (b"a:b\nc\n", VERSIONS, "a header without a colon: 'c'"),
    (b":b", VERSIONS, "a header without a name: ':b'"),
    (b"a:\\t", (11, 12), "an escape other than \\\\, \\c, \\n and \\r in a header: '\\\\t'"),
    (b"a\\:b", (11, 12), "an escape other than"),
    (b"a:b\\", (11, 12), "an escape other than"),
    (b"a:\\\\\\", (11, 12), "an escape other than"),
    (b"a:1\na:\\x", (11, 12), "an escape other than"),  # also of one that does not count
    (b"a:b\rc", (12,), "a carriage return within a header: 'b\\rc'"),
    (b"a\r:b", (12,), "a carriage return within a header: 'a\\r'"),
    (b"a:b\r\r\n", (12,), "a carriage return within a header: 'b\\r'"),
    (b"a:b\0", VERSIONS, "a NUL among the headers"),
    (b"\0", VERSIONS, "a NUL among the headers"),
]


@pytest.mark.parametrize(("block", "found"), READ, ids=repr)
def test_reading(block: bytes, found: dict[int, list[tuple[bytes, bytes]]]) -> None:
    for version, headers in found.items():
        assert parse_headers(block, version) == headers


@pytest.mark.parametrize(("block", "versions", "text"), REFUSED, ids=repr)
def test_what_is_refused_says_why(block: bytes, versions: tuple[int, ...], text: str) -> None:
    for version in versions:
        with pytest.raises(MalformedFrame) as refused:
            parse_headers(block, version)
        assert text in refused.value.text


@pytest.mark.parametrize("version", VERSIONS)
def test_every_byte_in_a_name_and_in_a_value(version: int) -> None:
    for byte in range(256):
        for text in (bytes([byte]), b"a" + bytes([byte]) + b"z"):
            for block in (b"n:" + text + b"\nl:t\n", text + b":v\nl:t\n"):
                expected = stomp_oracle.read(block, version)
                if expected is None:
                    with pytest.raises(MalformedFrame):
                        parse_headers(block, version)
                else:
                    assert parse_headers(block, version) == expected


LINES = {b"\n": b"\\n", b"\r": b"\\r"}
ALL = {**LINES, b":": b"\\c", b"\\": b"\\\\"}
ESCAPED = {RAW: LINES, 10: LINES, 11: ALL, 12: ALL}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_byte_escaped(version: int) -> None:
    for byte in range(256):
        one = bytes([byte])
        assert escape(one, version) == ESCAPED[version].get(one, one)
        assert escape(b"a" + one + one, version) == b"a" + 2 * ESCAPED[version].get(one, one)


def test_limits() -> None:
    most = b"".join([b"%d:\n" % number for number in range(HEADERS_PER_FRAME)])
    assert len(parse_headers(most + most, 12)) == HEADERS_PER_FRAME  # repeated ones are none
    with pytest.raises(MalformedFrame, match="more than 100 headers"):
        parse_headers(most + b"x:\n", 12)
    longest = b"a:" + b"b" * (HEADER_LINE_BYTES - 2)
    assert len(parse_headers(longest + b"\r\n", 12)) == 1
    with pytest.raises(MalformedFrame, match="a header of 8193 bytes, 8192 are allowed"):
        parse_headers(longest + b"b\n", 12)
    lines = b"a:" + b"b" * 1021 + b"\n"
    assert len(parse_headers(lines * 64, 12)) == 1
    with pytest.raises(MalformedFrame, match=f"headers of {HEADER_BLOCK_BYTES + 1} bytes"):
        parse_headers(lines * 64 + b"\n", 12)


def test_the_first_value_of_a_name() -> None:
    headers = [(b"a", b"1"), (b"b", b"")]
    assert (value_of(headers, b"a"), value_of(headers, b"b"), value_of(headers, b"c")) == (b"1", b"", None)


def test_a_name_with_a_colon_breaks_no_line_of_stomp_10() -> None:
    out = BytesWriter()
    put_header(out, b"a:b\n", b"c:d\r\n", 10)
    assert out.getvalue() == b"a\\cb\\n:c:d\\r\\n\n"


LETTERS = st.sampled_from(list(b"ab:\\\n\rncr \t\xc3")) | st.integers(0, 255)


@given(st.lists(LETTERS, max_size=40).map(bytes), st.sampled_from(VERSIONS))
def test_a_second_reading_agrees(block: bytes, version: int) -> None:
    expected = stomp_oracle.read(block, version)
    try:
        found = parse_headers(block, version)
    except MalformedFrame:
        assert expected is None
    else:
        assert found == expected


TEXT = st.lists(LETTERS.filter(bool), max_size=20).map(bytes)


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=8))
def test_what_is_written_is_read_again(headers: dict[bytes, bytes]) -> None:
    out = BytesWriter()
    for name, value in headers.items():
        put_header(out, name, value, 12)
    assert parse_headers(out.getvalue(), 12) == list(headers.items())


@given(st.dictionaries(TEXT.filter(bool), TEXT, min_size=1, max_size=8), st.sampled_from(VERSIONS))
def test_no_header_makes_another_line(headers: dict[bytes, bytes], version: int) -> None:
    out = BytesWriter()
    for name, value in headers.items():
        put_header(out, name, value, version)
    assert out.getvalue().count(b"\n") == len(headers)
    assert all(b":" in line for line in out.getvalue().splitlines(keepends=False) if line)
