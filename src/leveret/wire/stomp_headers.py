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


def parse_headers(block: bytes, version: i64) -> Headers:
    """The headers of a frame, unescaped, in their order; of a repeated name the first one.

    block: the lines behind the one of the command, up to the empty one, which does not count.
    Raises MalformedFrame.
    """
    found: Headers = []
    if len(block) > HEADER_BLOCK_BYTES:
        raise MalformedFrame(f"headers of {len(block)} bytes, {HEADER_BLOCK_BYTES} are allowed")
    if b"\0" in block:
        raise MalformedFrame("a NUL among the headers: is the empty line missing that ends them?")
    names: set[bytes] = set()
    for line in block.split(b"\n"):
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line:
            continue
        if len(line) > HEADER_LINE_BYTES:
            raise MalformedFrame(f"a header of {len(line)} bytes, {HEADER_LINE_BYTES} are allowed")
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedFrame(f"a header without a colon: {shown(line)}")
        if not name:
            raise MalformedFrame(f"a header without a name: {shown(line)}")
        name = unescape(name, version)
        if name in names:
            unescape(value, version)
            continue
        if len(names) >= HEADERS_PER_FRAME:
            raise MalformedFrame(f"more than {HEADERS_PER_FRAME} headers")
        names.add(name)
        found.append((name, unescape(value.lstrip(b" \t") if version == STOMP_10 else value, version)))
    return found


def value_of(headers: Headers, name: bytes) -> bytes | None:
    for each, value in headers:
        if each == name:
            return value
    return None


def unescape(value: bytes, version: i64) -> bytes:
    """Raises MalformedFrame."""
    if version == STOMP_12 and b"\r" in value:
        raise MalformedFrame(f"a carriage return within a header: {shown(value)}")
    if version < STOMP_11 or b"\\" not in value:
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
    if version < STOMP_11 and b":" in name:
        name = name.replace(b":", b"\\c")
    out.write(escape(name, version))
    out.append(COLON)
    out.write(escape(value, version))
    out.append(LF)


def shown(value: bytes) -> str:
    """Of what a peer said, for an error."""
    text = value.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")
