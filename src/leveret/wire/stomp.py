"""STOMP frames: where one begins and ends, and how the broker's own are written (STOMP 1.0, 1.1, 1.2).

    COMMAND EOL  *(name:value EOL)  EOL  body NUL  *EOL

EOL is LF or CR LF, in each line anew. All of a frame before its body is its head. Where the body ends is said by its
content-length, or by the first NUL. Header lines are stomp_headers.py's business, and what they mean others'.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i16_be

from leveret.errors import MalformedFrame
from leveret.limits import COMMAND_BYTES, HEADER_BLOCK_BYTES
from leveret.native import i16, i64
from leveret.wire.stomp_headers import Headers, put_header

NUL: Final[i64] = 0
LF: Final[i64] = 10
CR: Final[i64] = 13
HEAD_MAX: Final[i64] = HEADER_BLOCK_BYTES + COMMAND_BYTES + 4
COMMAND_MAX: Final[i64] = COMMAND_BYTES
END: Final = b"\0\n"  # a line end behind the frame: some clients of old read lines


def frame_start(data: bytes, at: i64, n: i64) -> i64:
    """Where the next frame begins: line ends between frames, and NULs, mean nothing. Raises MalformedFrame."""
    while at < n:
        byte: i64 = i64(data[at])
        if byte == LF or byte == NUL:
            at += 1
        elif byte == CR:
            if at + 1 == n:
                return at  # its LF is still to come
            if i64(data[at + 1]) != LF:
                raise MalformedFrame("a carriage return between frames that ends no line")
            at += 2
        elif byte == 22 and at + 1 < n and i64(data[at + 1]) == 3:
            raise MalformedFrame(
                "a TLS handshake where no TLS is spoken: connect without TLS, or to the port for it"
            )
        else:
            return at
    return n


def head_end(data: bytes, at: i64, n: i64) -> i64:
    """Where the body of the frame at `at` begins; -1 if its head is not whole yet. Raises MalformedFrame if it is
    longer than a head may be."""
    i = at
    stop = min(n, at + COMMAND_MAX + 2)
    while i < stop and i64(data[i]) != LF:
        i += 1
    if i >= stop:
        if n - at > COMMAND_MAX + 2:
            raise MalformedFrame(f"no command: the first line of a frame has at most {COMMAND_BYTES} bytes")
        return -1
    stop = min(n, at + HEAD_MAX)
    while i < stop:  # byte by byte: a search costs more, but for long heads
        if i64(data[i]) != LF:
            i += 1
            continue
        i += 1
        if i < n:
            byte: i64 = i64(data[i])
            if byte == LF:
                return i + 1
            if byte == CR and i + 1 < n and i64(data[i + 1]) == LF:
                return i + 2
    if n - at > HEAD_MAX:
        raise MalformedFrame(f"headers of more than {HEADER_BLOCK_BYTES} bytes")
    return -1


def command_of(head: bytes) -> bytes:
    """The first line of a head."""
    end = head.find(b"\n")
    command = head[:end]
    return command[:-1] if command.endswith(b"\r") else command


def block_of(head: bytes) -> bytes:
    """The header lines of a head, as `parse_headers` takes them."""
    return head[head.find(b"\n") + 1 :]


def digits_of(value: bytes) -> i64:
    """A number of at most 18 digits; -1 for what is none."""
    size: i64 = len(value)
    if size == 0 or size > 18:
        return -1
    number: i64 = 0
    at: i64 = 0
    while at < size:
        digit: i64 = i64(value[at]) - 48
        if digit < 0 or digit > 9:
            return -1
        number = number * 10 + digit
        at += 1
    return number


def frame(command: bytes, headers: Headers, body: bytes, version: i64) -> bytes:
    """A whole frame of ours, with its content-length if it has a body."""
    out = BytesWriter()
    out.write(command)
    out.append(LF)
    for name, value in headers:
        put_header(out, name, value, version)
    if body:
        put_header(out, b"content-length", str(len(body)).encode(), version)
    out.append(LF)
    out.write(body)
    out.write(END)
    return out.getvalue()


def put_receipt(out: BytesWriter, receipt: bytes) -> None:
    """receipt: the value of the receipt header, as it came."""
    out.write(b"RECEIPT\nreceipt-id:")
    out.write(receipt)
    write_i16_be(out, i16(2570))  # two LF
    write_i16_be(out, i16(10))  # END
