"""Dead letters against what RabbitMQ 4.3 made of the same messages, byte for byte, and which ones go in circles."""

from __future__ import annotations

import pytest
from librt.strings import BytesWriter

from leveret.core.death import (
    DELIVERY_LIMIT,
    EXPIRED,
    HISTORY_BYTES,
    MAXLEN,
    REJECTED,
    DeadMessage,
    bury,
    reason_name,
)
from leveret.limits import TABLE_SIZE_BYTES
from leveret.message import AMQP091, Message
from leveret.protocol.amqp091 import view  # noqa: F401  registers itself
from leveret.protocol.amqp091.content import properties_of
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, encode_properties
from leveret.wire.table import decode_typed_table, encode_typed_table

from .deaths_table import DEATHS, FORGED, Burial

NOW_MS = 1_795_575_785_999


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def message(properties: Properties, exchange: str = "", key: str = "q", body: bytes = b"hi") -> Message:
    out = BytesWriter()
    content_header(out, 1, len(body), encode_properties(properties))
    body_frames(out, 1, body, 4096)
    return Message(out.getvalue(), short(exchange) + short(key), len(body), True, AMQP091)


def buried(m: Message, burials: list[Burial]) -> DeadMessage:
    dead = None
    for queue, reason, exchange, key, second in burials:
        dead = bury(m, queue, reason, exchange, key, second * 1000 + 999)
        m = dead.message
    assert dead is not None
    return dead


def deaths_of(m: Message) -> list[tuple[object, object, object]]:
    history = (properties_of(m).headers or {})["x-death"]
    assert isinstance(history, list)
    return [(each["queue"], each["reason"], each["count"]) for each in history]


def in_order(data: bytes) -> bytes:
    """The properties of a message, with its headers sorted by name."""
    frame = data[: 8 + int.from_bytes(data[3:7], "big")]
    at = 21 + (1 + frame[21] if frame[19] & 0x80 else 0)
    end = at + 4 + int.from_bytes(frame[at : at + 4], "big")
    fields = sorted(decode_typed_table(frame, at), key=lambda field: field.name)
    return frame[19:at] + encode_typed_table(fields) + frame[end:-1]


@pytest.mark.parametrize(
    ("properties", "exchange", "key", "burials", "came"),
    [row[1:] for row in DEATHS],
    ids=[row[0] for row in DEATHS],
)
def test_as_rabbitmq_has_it(
    properties: Properties, exchange: str, key: str, burials: list[Burial], came: bytes
) -> None:
    m = message(properties, exchange, key)
    dead = buried(m, burials)
    assert in_order(dead.message.data) == came
    last = burials[-1]
    keys = [row[3] for row in burials if row[3] is not None]
    assert dead.message.route == short(last[2]) + short(keys[-1] if keys else key)
    assert dead.message.data.endswith(m.data[-10:])
    assert (dead.message.persistent, dead.message.protocol, dead.message.size_bytes) == (True, AMQP091, 2)
    assert dead.message.terms is None


def test_without_headers_of_its_own_the_very_bytes() -> None:
    _, properties, exchange, key, burials, came = DEATHS[0]
    data = buried(message(properties, exchange, key), burials).message.data
    assert data[:3] == b"\2\0\0"
    assert data[19 : 19 + len(came)] == came
    assert data[19 + len(came) :] == b"\xce\3\0\1\0\0\0\2hi\xce"


ROUTINGS = [
    ({}, None, ["q"]),
    ({}, "new", ["new"]),
    ({"CC": ["a", 1, "b"]}, None, ["q", "a", "b"]),
    ({"CC": ["a"]}, "new", ["new"]),
    ({"CC": []}, None, ["q"]),
]


@pytest.mark.parametrize(("headers", "key", "keys"), ROUTINGS)
def test_where_it_goes(headers: dict[str, object], key: str | None, keys: list[str]) -> None:
    dead = bury(message(Properties(headers=headers)), "q", REJECTED, "dlx", key, NOW_MS)
    assert (dead.exchange, dead.keys) == ("dlx", keys)


def test_copies_stay_to_be_seen_but_count_no_more_once_a_key_was_set() -> None:
    first = bury(message(Properties(headers={"CC": ["a"], "k": 1})), "q", REJECTED, "", "b", NOW_MS)
    again = bury(first.message, "b", REJECTED, "", None, NOW_MS)
    assert again.keys == ["b"]
    headers = properties_of(again.message).headers or {}
    assert headers["CC"] == ["a"]
    assert headers["k"] == 1


CIRCLES = [
    ([("q", EXPIRED)], "q", True),
    ([("q", MAXLEN)], "q", True),
    ([("q", DELIVERY_LIMIT)], "q", True),
    ([("q", EXPIRED)], "r", False),
    ([("q", REJECTED)], "q", False),
    ([("q", EXPIRED), ("r", EXPIRED)], "q", True),
    ([("q", EXPIRED), ("r", REJECTED)], "q", False),
    ([("q", EXPIRED), ("r", REJECTED), ("s", EXPIRED)], "q", False),
    ([("q", EXPIRED), ("r", REJECTED), ("s", EXPIRED)], "s", True),
    ([("q", REJECTED), ("r", EXPIRED)], "q", False),
    ([("q", EXPIRED), ("q", REJECTED), ("r", EXPIRED)], "q", False),
    ([("q", REJECTED), ("q", EXPIRED)], "q", True),
]


@pytest.mark.parametrize(("path", "queue", "expected"), CIRCLES)
def test_a_circle_is_one_that_nobody_broke(path: list[tuple[str, int]], queue: str, expected: bool) -> None:
    dead = buried(message(Properties()), [(name, reason, "", "x", 1) for name, reason in path])
    assert dead.circles(queue) is expected


def test_a_circle_is_told_by_its_queues() -> None:
    dead = buried(message(Properties()), [("a", EXPIRED, "", "b", 1), ("b", EXPIRED, "", "a", 1)])
    assert dead.circle("a") == ["a", "b", "a"]


def test_a_history_of_the_publisher_makes_no_circle() -> None:
    dead = bury(message(Properties(headers=FORGED)), "other", EXPIRED, "", "d.a", NOW_MS)
    assert not dead.circles("d.a")


def test_a_dead_letter_that_was_published_again_begins_anew() -> None:
    dead = buried(message(Properties()), [("a", EXPIRED, "", "b", 1), ("b", EXPIRED, "", "a", 1)])
    again = message(properties_of(dead.message))
    assert deaths_of(bury(again, "c", REJECTED, "", "d", NOW_MS).message) == [("c", "rejected", 1)]


def test_the_latest_death_stands_first_and_the_first_is_kept() -> None:
    path = [("a", REJECTED), ("b", EXPIRED), ("c", MAXLEN), ("a", REJECTED), ("a", EXPIRED)]
    dead = buried(message(Properties()), [(name, reason, "", "x", 1) for name, reason in path])
    assert deaths_of(dead.message) == [
        ("a", "expired", 1),
        ("a", "rejected", 2),
        ("c", "maxlen", 1),
        ("b", "expired", 1),
    ]
    headers = properties_of(dead.message).headers or {}
    assert headers["x-first-death-reason"] == "rejected"
    assert headers["x-last-death-reason"] == "expired"


def test_names_of_any_bytes() -> None:
    queue = "\0q\udcff"
    m = message(Properties())
    m.route = b"\x01\xfe\x02\x00\xfd"
    for _ in range(2):
        dead = bury(m, queue, EXPIRED, "\udcfc", None, NOW_MS)
        m = dead.message
    assert deaths_of(m) == [(queue, "expired", 2)]
    assert m.route == b"\x01\xfc\x02\x00\xfd"
    headers = properties_of(m).headers or {}
    assert (headers["x-first-death-queue"], headers["x-first-death-exchange"]) == (queue, "\udcfe")
    assert dead.circles(queue)


def test_a_long_history_loses_its_oldest_deaths() -> None:
    m = message(Properties())
    for n in range(600):
        m = bury(m, f"q{n:0>200}", EXPIRED, "", "x", NOW_MS).message
    history = deaths_of(m)
    assert history[0] == (f"q{599:0>200}", "expired", 1)
    assert 200 < len(history) < 300
    assert HISTORY_BYTES - 400 < len(m.data) < HISTORY_BYTES + 1_000
    assert (properties_of(m).headers or {})["x-first-death-queue"] == f"q{0:0>200}"


def test_headers_that_have_no_room_stay_as_they_are() -> None:
    m = message(Properties(headers={"k": "x" * (TABLE_SIZE_BYTES - 50)}, expiration="1"))
    for _ in range(2):
        m = bury(m, "q", EXPIRED, "dlx", None, NOW_MS).message
    assert list(properties_of(m).headers or {}) == ["k"]
    assert m.route == b"\x03dlx\x01q"


def test_reasons_have_rabbitmqs_names() -> None:
    names = [reason_name(reason) for reason in (REJECTED, EXPIRED, MAXLEN, DELIVERY_LIMIT)]
    assert names == ["rejected", "expired", "maxlen", "delivery_limit"]
