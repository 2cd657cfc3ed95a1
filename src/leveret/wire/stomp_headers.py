"""Header lines of STOMP frames: reading, escaping, writing (STOMP 1.2, "Value Encoding"; 1.1; 1.0).

    name:value EOL    EOL is LF or CR LF, in every version
    RAW               nothing is unescaped: CONNECT and CONNECTED, in any version
    10 (STOMP 1.0)    nothing is unescaped, and blanks before a value do not count
    11 (STOMP 1.1)    \\n \\c \\\\, and \\r as RabbitMQ has it
    12 (STOMP 1.2)    \\n \\c \\\\ \\r; a CR elsewhere than before LF is refused

Written are \\n and \\r in every version, so that no value breaks its line, \\c and \\\\ since 1.1.
A value may have colons of its own, as every broker has it. A NUL is refused in names and values: clients take it for
the end of a frame. Knows nothing of what a header means, nor of the frames around it.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from leveret.errors import MalformedFrame
from leveret.limits import HEADER_BLOCK_BYTES, HEADER_LINE_BYTES, HEADERS_PER_FRAME
from leveret.native import i64

RAW: Final = 0
STOMP_10: Final = 10
STOMP_11: Final = 11
STOMP_12: Final = 12

COLON: Final[i64] = 58
BACKSLASH: Final[i64] = 92
LF: Final[i64] = 10
CR: Final[i64] = 13

Headers = list[tuple[bytes, bytes]]


def parse_headers(block: bytes, version: i64, limited: bool = True) -> Headers:
    """The headers of a frame, unescaped, in their order; of a repeated name the first one.

    block: the lines behind the one of the command, up to the empty one, which does not count.
    limited: it comes from a peer; what was accepted once, and is longer in its escapes, is not judged again.
    Raises MalformedFrame.
    """
    found: Headers = []
    n: i64 = len(block)
    if limited and n > HEADER_BLOCK_BYTES:
        raise MalformedFrame(f"headers of {len(block)} bytes, {HEADER_BLOCK_BYTES} are allowed")
    if block.find(b"\0") >= 0:
        raise MalformedFrame("a NUL among the headers: is the empty line missing that ends them?")
    names: set[bytes] = set()
    at: i64 = 0
    while at < n:  # byte by byte: calls of methods cost more, but for long lines
        start = at
        colon: i64 = -1
        odd = False
        while at < n:
            byte: i64 = i64(block[at])
            if byte == LF:
                break
            if byte == COLON:
                if colon < 0:
                    colon = at
            elif byte == BACKSLASH or byte == CR:
                odd = True
            at += 1
        end = at
        at += 1
        if end > start and i64(block[end - 1]) == CR:
            end -= 1
        if end == start:
            continue
        if limited and end - start > HEADER_LINE_BYTES:
            raise MalformedFrame(f"a header of {int(end - start)} bytes, {HEADER_LINE_BYTES} are allowed")
        if colon < 0:
            raise MalformedFrame(f"a header without a colon: {shown(block[start:end])}")
        if colon == start:
            raise MalformedFrame(f"a header without a name: {shown(block[start:end])}")
        name = block[start:colon]
        value = block[colon + 1 : end]
        if version == STOMP_10:
            value = value.lstrip(b" \t")
        if odd:
            name = unescape(name, version)
            value = unescape(value, version)
        if name in names:
            continue
        if limited and len(names) >= HEADERS_PER_FRAME:
            raise MalformedFrame(f"more than {HEADERS_PER_FRAME} headers")
        names.add(name)
        found.append((name, value))
    return found


def value_of(headers: Headers, name: bytes) -> bytes | None:
    for each, value in headers:
        if each == name:
            return value
    return None


def unescape(value: bytes, version: i64) -> bytes:
    """Raises MalformedFrame."""
    if version == STOMP_12 and value.find(b"\r") >= 0:
        raise MalformedFrame(f"a carriage return within a header: {shown(value)}")
    if version < STOMP_11 or value.find(b"\\") < 0:
        return value
    parts = value.split(b"\\\\")
    for at in range(len(parts)):
        if b"\\" in parts[at]:
            parts[at] = _unescape_part(parts[at], value)
    return b"\\".join(parts)


def _unescape_part(part: bytes, value: bytes) -> bytes:
    """What has no backslash of its own. value: the whole of it, for the error."""
    pieces = part.split(b"\\")
    out = [pieces[0]]
    for piece in pieces[1:]:
        letter = piece[:1]
        if letter == b"n":
            out.append(b"\n")
        elif letter == b"c":
            out.append(b":")
        elif letter == b"r":
            out.append(b"\r")
        else:
            raise MalformedFrame(f"an escape other than \\\\, \\c, \\n and \\r in a header: {shown(value)}")
        out.append(piece[1:])
    return b"".join(out)


def escape(value: bytes, version: i64) -> bytes:
    """As a value is written. In no version does it break its line."""
    n: i64 = len(value)
    at: i64 = 0
    while at < n:
        byte: i64 = i64(value[at])
        if byte == COLON or byte == BACKSLASH or byte == LF or byte == CR:
            return _escape(value, version)
        at += 1
    return value


def _escape(value: bytes, version: i64) -> bytes:
    if version >= STOMP_11:
        if b"\\" in value:
            value = value.replace(b"\\", b"\\\\")
        if b":" in value:
            value = value.replace(b":", b"\\c")
    if b"\n" in value:
        value = value.replace(b"\n", b"\\n")
    if b"\r" in value:
        value = value.replace(b"\r", b"\\r")
    return value


def put_header(out: BytesWriter, name: bytes, value: bytes, version: i64) -> None:
    """One line. Neither name nor value may hold a NUL."""
    if version < STOMP_11 and name.find(b":") >= 0:
        name = name.replace(b":", b"\\c")
    out.write(escape(name, version))
    out.append(COLON)
    out.write(escape(value, version))
    out.append(LF)


def shown(value: bytes) -> str:
    """Of what a peer said, for an error."""
    text = value.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")
