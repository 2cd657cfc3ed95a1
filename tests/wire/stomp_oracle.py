"""A second reading of STOMP's header lines, byte after byte as the specifications have it: slow, and shares nothing
with what it is compared to. For tests and the fuzzer."""

from __future__ import annotations

from leveret.limits import HEADER_BLOCK_BYTES, HEADER_LINE_BYTES, HEADERS_PER_FRAME

ESCAPES = {
    0: {},
    10: {},
    11: {"n": "\n", "c": ":", "\\": "\\", "r": "\r"},
    12: {"n": "\n", "c": ":", "\\": "\\", "r": "\r"},
}


def read(block: bytes, version: int) -> list[tuple[bytes, bytes]] | None:
    """The headers; None if they are to be refused."""
    if len(block) > HEADER_BLOCK_BYTES or 0 in block:
        return None
    found: dict[bytes, bytes] = {}
    for line in lines(block.decode("latin-1")):
        if len(line) > HEADER_LINE_BYTES:
            return None
        at = line.find(":")
        if at < 1:
            return None
        value = line[at + 1 :]
        while version == 10 and value[:1] in (" ", "\t") and value:
            value = value[1:]
        name, value_read = plain(line[:at], version), plain(value, version)
        if name is None or value_read is None:
            return None
        found.setdefault(name, value_read)
    return None if len(found) > HEADERS_PER_FRAME else list(found.items())


def lines(text: str) -> list[str]:
    found, line = [], ""
    for letter in text + "\n":
        if letter == "\n":
            if line.endswith("\r"):
                line = line[:-1]
            if line:
                found.append(line)
            line = ""
        else:
            line += letter
    return found


def plain(text: str, version: int) -> bytes | None:
    escapes = ESCAPES[version]
    out, at = "", 0
    while at < len(text):
        letter = text[at]
        if letter == "\r" and version == 12:
            return None
        if letter == "\\" and escapes:
            at += 1
            if at == len(text) or text[at] not in escapes:
                return None
            letter = escapes[text[at]]
        out += letter
        at += 1
    return out.encode("latin-1")
