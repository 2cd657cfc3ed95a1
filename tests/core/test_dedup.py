"""Duplicates in a window, and keys of which one may wait."""

from __future__ import annotations

import pytest

from leveret.errors import PreconditionFailed
from leveret.message import ACCEPTED, RELEASED
from leveret.wire.properties import Properties
from tests.core.test_limits import waiting
from tests.rig import Hand, Rig


def send(rig: Rig, body: str, key: str | None, at: int | None = None) -> bool:
    """False if it was refused."""
    if at is not None:
        rig.at(at)
    rig.send("q", body.encode(), Properties(message_id=key))
    rig.settle_down()
    return not rig.vhost.refused


def test_a_window() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-message-deduplication": 1_000})
    assert send(rig, "a", "1", at=10_000)
    assert send(rig, "b", "1", at=10_999)  # not taken, and safe all the same
    assert send(rig, "c", "2")
    assert send(rig, "d", None)
    assert send(rig, "e", None)
    assert send(rig, "f", "1", at=11_000)
    assert waiting(rig, "q") == [b"a", b"c", b"d", b"e", b"f"]
    assert queue.window is not None
    assert queue.window.duplicates == 1


@pytest.mark.parametrize("consumed", [False, True])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_window_outlives_the_broker(consumed: bool, checkpoint: bool) -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-message-deduplication": 1_000})
    send(rig, "a", "1", at=10_000)
    if consumed:
        hand = Hand(rig, queue)
        rig.settle_down()
        hand.settle(1, ACCEPTED)
        rig.settle_down()
        hand.leave()
    if checkpoint:
        rig.journal.roll()
        rig.settle_down()
    rig = rig.crash()
    send(rig, "b", "1", at=10_900)
    send(rig, "c", "1", at=11_000)
    assert waiting(rig, "q") == ([b"c"] if consumed else [b"a", b"c"])


def test_a_window_by_header_of_so_many_keys() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-message-deduplication": {"window": 60_000, "header": "order", "size": 2}})
    for body, order in (("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", "1"), ("f", 1)):
        rig.send("q", body.encode(), Properties(headers={"order": order}))
    rig.settle_down()
    assert waiting(rig, "q") == [b"a", b"b", b"d", b"e", b"f"]  # 1 was forgotten, and is not "1"


@pytest.mark.parametrize("restart", [False, True])
def test_unique_refuses(restart: bool) -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-unique": "refuse"})
    assert send(rig, "a", "1")
    if restart:
        rig = rig.crash()
    assert not send(rig, "b", "1")
    assert send(rig, "c", "2")
    assert send(rig, "d", None)
    hand = Hand(rig, rig.vhost.queue("q", None), 1)
    rig.settle_down()
    assert send(rig, "e", "1")  # the first does not wait any more
    assert not send(rig, "f", "1")
    hand.leave()
    rig.settle_down()
    assert waiting(rig, "q") == [b"a", b"c", b"d", b"e"]


@pytest.mark.parametrize("restart", [False, True])
def test_unique_replaces(restart: bool) -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-unique": "replace", "x-unique-header": "k"})
    for body, key in (("a", "1"), ("b", "2"), ("c", "1")):
        rig.send("q", body.encode(), Properties(headers={"k": key}))
    rig.settle_down()
    if restart:
        rig = rig.crash()
    assert waiting(rig, "q") == [b"b", b"c"]
    rig.send("q", b"d", Properties(headers={"k": "2"}))
    rig.settle_down()
    rig = rig.crash()
    assert waiting(rig, "q") == [b"c", b"d"]


def test_unique_on_pages() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-unique": "replace"})
    for i in range(400):
        rig.send("q", b"%d" % i, Properties(message_id=str(i % 150)))
    rig.settle_down()
    assert len(rig.disk.pages.list()) > 3
    rig = rig.crash()
    rig.send("q", b"400", Properties(message_id="100"))
    rig.settle_down()
    assert waiting(rig, "q") == [b"%d" % i for i in range(251, 401) if i not in (250, 400 - 150)]


def test_what_comes_back_may_be_there_twice() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-unique": "refuse"})
    send(rig, "a", "1")
    hand = Hand(rig, queue, 1)
    rig.settle_down()
    send(rig, "b", "1")
    hand.settle(1, RELEASED)
    hand.leave()
    rig.settle_down()
    assert waiting(rig, "q") == [b"a", b"b"]


def test_nothing_is_kept_of_what_is_gone() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-unique": "refuse"})
    hand = Hand(rig, queue)
    for i in range(50):
        send(rig, "x", str(i))
    hand.settle(0, ACCEPTED, True)
    rig.settle_down()
    assert queue.unique is not None
    assert queue.unique.spots == {}
    assert all(not here for here in queue.unique.keys.values())


@pytest.mark.parametrize("restart", [False, True])
def test_a_window_of_an_exchange(restart: bool) -> None:
    rig = Rig()
    rig.vhost.declare_exchange("x", "fanout", True, False, False, {"x-message-deduplication": 1_000}, False)
    for name in ("q", "r"):
        rig.queue(name)
        rig.vhost.bind_queue(name, "x", "", {}, None)
    rig.at(5_000)
    rig.send("", b"a", Properties(message_id="1"), exchange="x")
    rig.settle_down()
    if restart:
        rig = rig.crash()
        rig.at(5_000)
    rig.send("", b"b", Properties(message_id="1"), exchange="x")
    rig.send("q", b"c", Properties(message_id="1"))
    rig.settle_down()
    rig.at(6_000)
    rig.send("", b"d", Properties(message_id="1"), exchange="x")
    rig.settle_down()
    assert (waiting(rig, "q"), waiting(rig, "r")) == ([b"a", b"c", b"d"], [b"a", b"d"])
    rig.vhost.delete_exchange("x", False)
    rig.settle_down()
    assert "x" not in rig.crash().vhost.stores


def test_a_window_of_an_exchange_that_is_none() -> None:
    with pytest.raises(PreconditionFailed, match="window has to be"):
        Rig().vhost.declare_exchange("x", "topic", True, False, False, {"x-message-deduplication": 0}, False)


def test_exchanges_have_none_of_what_only_queues_can_do() -> None:
    with pytest.raises(PreconditionFailed, match="'x-unique' for exchange 'x' in vhost '/': only queues"):
        Rig().vhost.declare_exchange("x", "topic", True, False, False, {"x-unique": "refuse"}, False)


@pytest.mark.parametrize("window", [90_000, "90s", "1m30s", {"window": "1.5m"}])
def test_forms_of_a_window(window: object) -> None:
    queue = Rig().queue("q", arguments={"x-message-deduplication": window})
    assert queue.window is not None
    assert queue.window.window_ms == 90_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-message-deduplication": True}, "expected milliseconds"),
        ({"x-message-deduplication": 0}, "window has to be 1 to"),
        ({"x-message-deduplication": "ever"}, "or a text such as 10m, got 'ever'"),
        ({"x-message-deduplication": {}}, "window has to be 1 to"),
        ({"x-message-deduplication": {"windows": 3}}, "unknown key 'windows'"),
        ({"x-message-deduplication": {"window": 3, "header": 3}}, "header has to be"),
        ({"x-message-deduplication": {"window": 3, "size": 0}}, "size has to be"),
        ({"x-unique": "drop"}, "expected 'refuse' or 'replace'"),
        ({"x-unique-header": "k"}, "x-unique is missing"),
    ],
)
def test_what_is_refused(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(PreconditionFailed, match=text):
        Rig().queue("q", arguments=arguments)


@pytest.mark.parametrize(
    "arguments", [{"x-message-deduplication": 60_000}, {"x-unique": "refuse"}, {"x-unique": "replace"}]
)
def test_another_try_is_a_duplicate_of_nothing(arguments: dict[str, object]) -> None:
    rig = Rig()
    rig.queue("q", arguments=arguments)
    assert send(rig, "new", "1", at=10_000)
    for number in (1, 2):
        rig.send("q", b"again %d" % number, Properties(message_id="1", headers={"x-attempts": number}))
        rig.settle_down()
        assert not rig.vhost.refused
    rig = rig.crash()
    if "x-unique" in arguments:
        assert send(rig, "newer", "1") == (arguments["x-unique"] == "replace")
    expected = [b"new", b"again 1", b"again 2"]
    if arguments.get("x-unique") == "replace":
        expected = [b"again 1", b"again 2", b"newer"]
    assert waiting(rig, "q") == expected
