"""Frames as they come: whole, in pieces of every size, with either line end, with and without a length; and too large."""

from __future__ import annotations

import pytest

from leveret.limits import HEADERS_PER_FRAME, HEADS_CACHED

from .talker import Talker, frame

VERSIONS = ("1.0", "1.1", "1.2")
BODIES = (b"", b"x", b"a\0b\0", b"\n\n\0", bytes(range(256)) * 3, "ä€𝄞".encode())


def conversation(version: str, eol: bytes, length: bool) -> tuple[bytes, list[bytes]]:
    """Everything a client says that subscribes and sends, and the bodies that it is to get."""
    bodies = [body for body in BODIES if length or b"\0" not in body]
    login = {"accept-version": version, "host": "/", "login": "guest", "passcode": "guest"}
    said = [
        frame("STOMP", login, eol=eol),
        frame("SUBSCRIBE", {"id": "1", "destination": "/queue/q"}, version=version, eol=eol),
    ]
    for at, body in enumerate(bodies):
        headers = {"destination": "/queue/q", "number": str(at), "content-type": "a/b"}
        said.append(frame("SEND", headers, body, version, eol, length) + eol * (at % 3))
    said.append(frame("DISCONNECT", {"receipt": "bye"}, version=version, eol=eol))
    return b"".join(said), bodies


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_conversation_in_pieces(version: str, eol: bytes, length: bool, step: int) -> None:
    said, bodies = conversation(version, eol, length)
    talker = Talker(version=version)
    subscribed = said.index(b"DISCONNECT")
    talker.says(said[:subscribed], step=step)
    talker.sync()
    connected, *messages = talker.heard()
    assert connected["version"] == version
    assert [each.body for each in messages] == bodies
    assert [each["number"] for each in messages] == [str(at) for at in range(len(bodies))]
    assert all(each["content-type"] == "a/b" and each["subscription"] == "1" for each in messages)
    talker.says(said[subscribed:], step=step)
    assert talker.one()["receipt-id"] == "bye"
    assert talker.conversation.is_over()


def test_many_frames_in_one_read() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    sends = [frame("SEND", {"destination": "/queue/q"}, b"%d" % at) for at in range(500)]
    talker.says(b"\n".join(sends))
    assert talker.bodies() == [b"%d" % at for at in range(500)]


@pytest.mark.parametrize("length", [True, False])
def test_a_large_body_in_many_reads(length: bool) -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    body = b"0123456789abcdef" * 50_000
    talker.says(frame("SEND", {"destination": "/queue/q"}, body, length=length) + b"\n", step=30_011)
    talker.send("/queue/q", b"next")
    assert talker.bodies() == [body, b"next"]


def test_a_body_that_is_not_whole_asks_for_the_rest() -> None:
    talker = Talker().opened()
    said = frame("SEND", {"destination": "/queue/q"}, b"x" * 100_000, length=True)
    talker.says(b"\n\n" + said[:1000])
    assert talker.peer.rest_bytes == 1000
    assert talker.peer.need == len(said)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_long_headers_in_pieces_are_looked_at_once(eol: bytes, step: int) -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    headers = {f"h{at}": "x" * 600 for at in range(20)}
    said = frame("SEND", {"destination": "/queue/q"} | headers, b"x", eol=eol)
    looks = 0
    for at in range(0, len(said), step):
        talker.peer.receive(said[at : at + step])
        looks += talker.peer.rest_bytes > 0 and len(talker.peer.rest) == 1  # what came was put together
    assert looks <= 80
    talker.sync()
    (message,) = talker.heard()
    assert message.body == b"x" and all(message[name] == value for name, value in headers.items())


def test_headers_that_differ_only_in_length_and_receipt_are_read_once() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    assert talker.peer.heads is not None
    for at in range(10):
        receipt = {"receipt": f"r{at}"} if at % 3 == 0 else {}
        headers = receipt | {"destination": "/queue/q", "a": "b"}
        talker.says(frame("SEND", headers, b"x" * at, length=True))
    kinds = {id(each.kept) for each in talker.peer.heads.known.values()}
    assert len(kinds) == 1
    talker.sync()
    heard = talker.heard()
    assert [each["receipt-id"] for each in heard if each.command == "RECEIPT"] == ["r0", "r3", "r6", "r9"]
    messages = [each for each in heard if each.command == "MESSAGE"]
    assert [each.body for each in messages] == [b"x" * at for at in range(10)]
    assert all(each["a"] == "b" and "receipt" not in each.headers for each in messages)


def test_what_is_remembered_of_headers_is_bounded() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    for at in range(1000):
        talker.says(frame("SEND", {"destination": "/queue/q", "n": str(at)}, b"%d" % at))
    assert talker.peer.heads is not None and len(talker.peer.heads.known) <= HEADS_CACHED
    assert [each["n"] for each in talker.receives()] == [str(at) for at in range(1000)]


@pytest.mark.parametrize("version", VERSIONS)
def test_escapes_by_version(version: str) -> None:
    """Between any two versions: what one says is what the other hears, as far as it can be said."""
    for other in VERSIONS:
        sender, reader = Talker(version=version).opened(), None
        reader = Talker(sender.rig, version=other).opened()
        reader.subscribe("/queue/q")
        value = "a\\b" if version == "1.0" else "a\\b:c\nd"
        sender.send("/queue/q", b"", note=value)
        reader.sync()
        (message,) = reader.heard()
        told = value if other != "1.0" else value.replace("\n", "\\n")
        assert message["note"] == told, (version, other)


def test_blanks_before_a_value_do_not_count_in_1_0() -> None:
    talker = Talker(version="1.0")
    talker.says(b"CONNECT\nlogin: guest\npasscode: guest\nhost: /\n\n\0")
    assert talker.one()["version"] == "1.0"
    talker.says(b"SUBSCRIBE\ndestination: /queue/q\n\n\0SEND\ndestination: /queue/q\nreceipt: r\n\nx\0")
    talker.sync()
    heard = talker.heard()
    assert {each.command for each in heard} == {"MESSAGE", "RECEIPT"}
    assert "subscription" not in heard[0].headers or "subscription" not in heard[1].headers


def test_of_a_repeated_header_the_first_counts() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    talker.says(
        b"SEND\ndestination:/queue/q\na:1\na:2\ndestination:/queue/other\nreceipt:r\nreceipt:s\n\nx\0"
    )
    talker.sync()
    receipt, message = talker.heard()
    assert receipt["receipt-id"] == "r"
    assert message["a"] == "1"


# ---- limits


def fails(said: bytes, version: str = "1.2") -> str:
    talker = Talker(version=version).opened()
    talker.send("/queue/q", b"before", persistent="true")
    talker.says(said)
    error = talker.fails()
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q")
    assert b"before" in other.bodies()  # what was accepted is not lost
    return error["message"] + ": " + error.body.decode()


SEND = b"SEND\ndestination:/queue/q\n"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"x" * 40, "no command"),
        (SEND + b"a:b\n" * HEADERS_PER_FRAME + b"\n\0", "no error"),
        (
            SEND + b"".join(b"a%d:b\n" % at for at in range(HEADERS_PER_FRAME)) + b"\n\0",
            "more than 100 headers",
        ),
        (SEND + b"a:" + b"b" * 8200 + b"\n\n\0", "a header of 8202 bytes"),
        (SEND + b"a:" + b"b" * 70_000, "headers of more than 65536 bytes"),
        (SEND + b"content-length:16777217\n\n", "message size 16777217 is larger than"),
        (SEND + b"content-length:3\n\nabcd\0", "no NUL behind the 3 bytes"),
        (SEND + b"content-length:x\n\n\0", "no number of bytes"),
        (SEND + b"content-length:-1\n\n\0", "no number of bytes"),
        (SEND + b"nonsense\n\n\0", "without a colon"),
        (SEND + b"a:\\x\n\n\0", "an escape"),
        (SEND + b"a:b\0c\n\n\0", "a NUL among the headers"),
        (b"\rSEND", "carriage return"),
        (b"BEGIN\ntransaction:1\n\n" + b"x" * 70_000, "only SEND may have a body"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_the_end(said: bytes, why: str) -> None:
    if why == "no error":
        talker = Talker().opened()
        talker.says(said)
        assert talker.heard() == [] and not talker.conversation.is_over()
        return
    assert why in fails(said)


def test_a_body_without_a_length_is_bounded() -> None:
    talker = Talker(message_size_max_bytes=1000).opened()
    talker.says(SEND + b"\n" + b"x" * 1000 + b"\0")
    assert talker.heard() == []
    talker.says(SEND + b"\n" + b"x" * 500)
    talker.says(b"x" * 501)
    talker.says(b"x" * 200_000)
    assert "larger than configured max size 1000" in talker.fails().body.decode()


def test_before_the_login_little_is_kept() -> None:
    talker = Talker()
    talker.says(b"CONNECT\nlogin:guest\n\n")
    for _ in range(100):
        talker.says(b"x" * 10_000)
    assert talker.conversation.is_over()
    assert talker.peer.rest_bytes < 200_000
