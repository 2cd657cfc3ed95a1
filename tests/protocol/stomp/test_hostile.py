"""Rubbish, and valid conversations with a few things wrong in them (hostile.py says what has to hold)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .hostile import VERSIONS, connect, conversation, survive

ANY = st.sampled_from(VERSIONS)


@pytest.mark.parametrize("version", ["1.0", "1.2"])
@pytest.mark.parametrize("step", [0, 1, 7, 100])
def test_the_conversation_is_valid(version: str, step: int) -> None:
    """What is spoilt below was sound before."""
    whole = b"".join(conversation(version))
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)] if step else conversation(version)
    talker = survive(pieces, version)
    assert talker.conversation.close_reason == ""
    assert sorted(talker.rig.vhost.topology.queues) == ["late", "q"]


def test_an_id_of_another_connection_is_refused() -> None:
    assert "unknown delivery tag" in survive(conversation("1.1"), "1.1").conversation.close_reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "line",
    [
        b"receipt:\\t",
        b"receipt:a\\",
        b"receipt:\\c\\\\",
        b"receipt:a\0b",
        b"receipt:a\rb",
        b"receipt:" + b"a" * 8_185,
        b"receipt:1\nreceipt:\\t",
        b"content-length:\\c1",
        b"content-length:",
        b"content-length: 1 ",
        b"content-length:1\ncontent-length:2",
        b"content-length\\c:5\nreceipt\\n:1",
    ],
    ids=repr,
)
def test_what_is_cut_out_of_a_head_is_read_as_the_rest(line: bytes, version: str) -> None:
    one = b"SEND\ndestination:/queue/q\n" + line + b"\n\nx\0"
    survive([one, one], version)
    survive([one.replace(b"\n", b"\r\n"), one], version)


@pytest.mark.parametrize(
    "head", [b"SEND\rdestination:/queue/q\ncontent-length:x", b"SEND\t\na:", b"SENDS\na:"]
)
def test_what_only_begins_like_send_is_another_command(head: bytes) -> None:
    assert "Could not interpret" in survive([head + b"\na:b\n\n\0"], "1.1").conversation.close_reason


@pytest.mark.parametrize("step", [1, 20, 100])
def test_a_first_line_that_is_too_long_is_refused_however_it_comes(step: int) -> None:
    said = b"x" * 35 + b"\n\n\0"
    talker = survive([said[at : at + step] for at in range(0, len(said), step)], "1.2")
    assert talker.conversation.close_reason == "no command: the first line of a frame has at most 32 bytes"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=10), ANY)
def test_rubbish(pieces: list[bytes], version: str) -> None:
    survive(pieces, version, connected=False)
    survive([connect(version), *pieces], version, connected=False)


LETTERS = st.lists(st.sampled_from([b"\n", b"\r", b"\0", b":", b"\\", b"SEND\n", b"a", b"\n\n"]), max_size=30)
LINES = st.sampled_from(
    [
        b"destination:/queue/q\n",
        b"destination:/topic/a\r\n",
        b"content-length:3\n",
        b"content-length:99\n",
        b"content-length:-1\n",
        b"content-length: 2 \n",
        b"receipt:r\n",
        b"receipt:a\\c\n",
        b"receipt:\\t\n",
        b"receipt:a\0b\n",
        b"receipt:a\rb\n",
        b"persistent:true\n",
        b"transaction:t\n",
        b"x\\c:\\n\n",
        b"id:0\n",
        b"ack:client\n",
        b"no colon\n",
        b":no name\n",
    ]
)
COMMANDS = st.sampled_from(
    [b"SEND", b"SUBSCRIBE", b"ACK", b"BEGIN", b"COMMIT", b"DISCONNECT", b"NOTHING", b""]
)
FRAMES = st.builds(
    lambda command, eol, lines, body, end: command + eol + b"".join(lines) + eol + body + end,
    COMMANDS,
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(LINES, max_size=4),
    st.sampled_from([b"", b"abc", b"a\0b", b"ab"]),
    st.sampled_from([b"\0", b"\0\n", b"\0\r\n", b""]),
)


@settings(deadline=None)
@given(st.lists(LETTERS.map(b"".join) | FRAMES, max_size=8), ANY, st.booleans())
def test_frames_in_any_order(pieces: list[bytes], version: str, synced: bool) -> None:
    survive(pieces, version, synced)


# (what to do, where in thousandths, how much, what with)
EDIT = st.tuples(
    st.sampled_from(["set", "insert", "delete", "repeat", "cut"]),
    st.integers(0, 999),
    st.integers(1, 12),
    st.sampled_from([b"\n", b"\r", b"\0", b":", b"\\", b"\n\n", b"9", b"x", b"\xff"]),
)


@settings(deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=4), ANY, st.sampled_from([1, 13, 200, 100_000]), st.booleans())
def test_a_spoilt_conversation(
    edits: list[tuple[str, int, int, bytes]], version: str, step: int, synced: bool
) -> None:
    data = b"".join(conversation(version))
    for what, where, much, other in edits:
        at = len(data) * where // 1000
        if what == "set":
            data = data[:at] + other + data[at + 1 :]
        elif what == "insert":
            data = data[:at] + other + data[at:]
        elif what == "delete":
            data = data[:at] + data[at + much :]
        elif what == "repeat":
            data = data[:at] + data[at : at + 40 * much] + data[at:]
        else:
            data = data[:at]
    survive([data[at : at + step] for at in range(0, len(data), step)], version, synced)
