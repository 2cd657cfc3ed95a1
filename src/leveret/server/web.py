"""STOMP over WebSocket (RFC 6455): the layer between a socket, or TLS, and a STOMP conversation.

Frames, masks and the opening handshake are those of the library `websockets` (docs/adr/0023-websocket-framing.md). This
file knows who may come in, how a stream of STOMP is cut into messages, and HTTP as far as it takes to say no. To the
conversation a client's messages are a stream, wherever they are cut.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from leveret import limits, logs
from leveret.server.layers import Layer

PATH: Final = "/ws"
SUBPROTOCOLS: Final = (Subprotocol("v12.stomp"), Subprotocol("v11.stomp"), Subprotocol("v10.stomp"))
LOOPBACK_ORIGIN: Final = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
REQUEST_LINE: Final = re.compile(rb"[A-Z]+ [^ ]+ HTTP/1\.[01]\r\n")
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"\ncontent-length:"

# The library logs every frame when its logger is at debug, passwords with it: it never is.
log = logs.get("websocket")
log.setLevel("ERROR")


def allowed_origin(origin: str | None, allowed: Sequence[str]) -> bool:
    """Whether pages of this origin may connect: programs have none, pages of this machine may, others must be listed."""
    if origin is None or "*" in allowed or origin.lower() in allowed:
        return True
    return LOOPBACK_ORIGIN.fullmatch(origin.lower()) is not None


def frames_of(data: bytes) -> Iterator[bytes]:
    """What a STOMP server says, cut behind each frame; heart-beats between frames are pieces of their own."""
    pos = 0
    size = len(data)
    while pos < size:
        if data[pos] == 10:
            stop = pos + 1
        else:
            blank = data.find(b"\n\n", pos)
            at = data.find(LENGTH, pos, blank + 1)
            if blank < 0:
                stop = size
            elif at < 0:
                stop = (data.find(b"\0", blank) + 1) or size
            else:
                at += len(LENGTH)
                stop = blank + 3 + int(data[at : data.index(b"\n", at)])
        while stop < size and data[stop] == 10:
            stop += 1
        yield data if stop - pos == size else data[pos:stop]
        pos = stop


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class WebSocketLayer(Layer):
    """origins: those whose pages may connect, in lower case, beside those of this machine; `*` for all."""

    name = "websocket"

    def __init__(self, origins: Sequence[str], message_max_bytes: int) -> None:
        super().__init__()
        self._origins = origins
        self._ws = ServerProtocol(
            select_subprotocol=select_subprotocol,
            max_size=message_max_bytes + limits.WEB_MESSAGE_EXTRA_BYTES,
            logger=log,
        )
        self._head = b""  # of the request, until it is whole
        self._decoder: codecs.IncrementalDecoder | None = None  # of the text message that is being read
        self._text = True  # what the client sends: its kind is that of what it gets
        self._unread_bytes = 0  # of a frame that is not whole

    # ---- in

    def received(self, data: bytes) -> bytes:
        if self.ended:
            return b""
        if self._ws.state is State.CONNECTING:
            data = self._request(data)
            if not data:
                return b""
        self._unread_bytes += len(data)
        self._ws.receive_data(data)
        parts: list[bytes] = []
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._unread_bytes = 0
                if not self._frame(event, parts):
                    break
        if not self.trusted and self._unread_bytes > limits.WEB_BEFORE_LOGIN_BYTES:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too large a message from a client that has not logged in")
        self._take()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _frame(self, frame: Frame, parts: list[bytes]) -> bool:
        """Returns whether more may follow."""
        kind = frame.opcode
        if kind in (Opcode.TEXT, Opcode.BINARY):
            self._text = kind is Opcode.TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if self._text else None
        elif kind is not Opcode.CONT:
            return True  # the library has answered it
        data = bytes(frame.data)
        if self._decoder is not None:
            try:
                self._decoder.decode(data, frame.fin)
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "a text message that is not UTF-8")
                return False
        parts.append(data)
        return True

    def _fail(self, code: CloseCode, reason: str) -> None:
        if self._ws.state is State.OPEN:
            self._ws.fail(code, reason)
            self.reason = f"WebSocket: {reason}"

    def _take(self) -> None:
        """What the library has to say, and whether that was all."""
        for data in self._ws.data_to_send():
            if data:
                self.out.append(data)
            else:
                self.ended = True
        ws = self._ws
        if not self.ended or self.reason:
            return
        error = ws.parser_exc
        if error is not None:
            what = "a message that is too large" if isinstance(error, PayloadTooBig) else str(error)
            self.reason = f"WebSocket: {what}"

    # ---- the opening handshake

    def _request(self, data: bytes) -> bytes:
        """Returns what follows the request, once it was whole and is accepted."""
        head = self._head + data
        line = head.find(b"\n") + 1
        if not head[:1].isalpha() or (line and REQUEST_LINE.match(head) is None):
            self._refuse(
                HTTPStatus.BAD_REQUEST, "This is no HTTP request. STOMP over WebSocket is spoken here."
            )
            return b""
        end = head.find(HEAD_END)
        if (end if end >= 0 else len(head)) > limits.WEB_REQUEST_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request is too large.")
            return b""
        if end < 0:
            self._head = head
            return b""
        self._head = b""
        end += len(HEAD_END)
        self._ws.receive_data(head[:end])
        events = self._ws.events_received()
        if events and isinstance(events[0], Request):
            self._answer(events[0])
        else:
            error = self._ws.handshake_exc
            cause = None if error is None else error.__cause__ or error
            self._refuse(HTTPStatus.BAD_REQUEST, f"The request cannot be understood: {cause}.")
        return b"" if self.ended else head[end:]

    def _answer(self, request: Request) -> None:
        origin = request.headers.get("Origin") if len(request.headers.get_all("Origin")) == 1 else None
        if urlsplit(request.path).path != PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"There is nothing here. STOMP over WebSocket is at {PATH}.")
        elif not allowed_origin(origin, self._origins) or len(request.headers.get_all("Origin")) > 1:
            self._refuse(
                HTTPStatus.FORBIDDEN,
                f"Pages of {origin} may not connect here. Whoever runs the broker can allow it: web_stomp_origins.",
            )
        else:
            response = self._ws.accept(request)
            self._ws.send_response(response)
            if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
                self.reason = f"HTTP: {response.status_code} {response.reason_phrase}"
            self._take()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode("utf-8", "replace")
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.out.append(head.encode() + body)
        self.ended = True
        self.reason = f"HTTP: {status.value} {status.phrase}"

    # ---- out

    def wrap(self, parts: list[bytes]) -> None:
        ws = self._ws
        if ws.state is not State.OPEN:
            return
        for piece in frames_of(parts[0] if len(parts) == 1 else b"".join(parts)):
            if self._text and is_text(piece):
                ws.send_text(piece)
            else:
                ws.send_binary(piece)
        self._take()

    def farewell(self, leaving: bool) -> None:
        if self._ws.state is State.OPEN:
            if leaving:
                self._ws.send_close(CloseCode.GOING_AWAY, "the broker is being stopped")
            else:
                self._ws.send_close(CloseCode.NORMAL_CLOSURE, "")
            self._take()


def select_subprotocol(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The newest version of STOMP that a client offers; none if it offers nothing. Which version is spoken is settled
    by CONNECT. Raises NegotiationError."""
    from websockets.exceptions import NegotiationError

    if not offered:
        return None
    for known in SUBPROTOCOLS:
        if known in offered:
            return known
    raise NegotiationError(f"of subprotocols there are {', '.join(SUBPROTOCOLS)}")
