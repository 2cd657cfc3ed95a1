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


WHOLE, MORE, BAD = "whole", "more", "bad"


def frames(data: bytes, version: int) -> tuple[list[tuple[str, dict[str, str], bytes]], str]:
    """Whole frames that a client sent, and what is behind them: nothing, the beginning of one, or what is none."""
    found: list[tuple[str, dict[str, str], bytes]] = []
    text = data.decode("latin-1")
    at = 0
    while True:
        while text[at : at + 1] in ("\n", "\0") and at < len(text):
            at += 1
        if text[at : at + 2] == "\r\n":
            at += 2
            continue
        if at == len(text):
            return found, WHOLE
        if text[at] == "\r":
            return found, MORE if at + 1 == len(text) else BAD
        if text[at : at + 2] == "\x16\x03":
            return found, BAD
        if len(text) - at > 34 and "\n" not in text[at : at + 34]:
            return found, BAD  # no command is as long
        line, body_at = next_line(text, at)
        if body_at < 0:
            return found, MORE
        command, lines_at = line, body_at
        while True:
            line, body_at = next_line(text, body_at)
            if body_at < 0:
                return found, MORE
            if line == "":
                break
        headers = read(data[lines_at:body_at], version)
        stop = text.find("\0", body_at)
        if command == "SEND":
            if headers is None:
                return found, BAD
            length = dict(headers).get(b"content-length")
            if length is not None:
                digits = length.strip()
                if not digits.isdigit() or len(digits) > 18:
                    return found, BAD
                stop = body_at + int(digits)
                if stop < len(text) and text[stop] != "\0":
                    return found, BAD
        if stop < 0 or stop >= len(text):
            return found, MORE
        if headers is None:
            return found, BAD
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        found.append((command, told, data[body_at:stop]))
        at = stop + 1


def next_line(text: str, at: int) -> tuple[str, int]:
    """A line without its end, and where the next begins; -1 if it has no end."""
    end = text.find("\n", at)
    if end < 0:
        return "", -1
    line = text[at:end]
    return line[:-1] if line.endswith("\r") else line, end + 1
