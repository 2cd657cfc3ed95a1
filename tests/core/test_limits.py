"""Queues that have a length, priorities, or somewhere for their dead."""

from __future__ import annotations

import pytest

from leveret.message import ACCEPTED, REJECTED
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig, body_of, headers_of


def waiting(rig: Rig, name: str) -> list[bytes]:
    """What is in a queue, in the order in which it comes out. It stays there."""
    hand = Hand(rig, rig.vhost.queue(name, None), name=f"look at {name}")
    rig.settle_down()
    hand.leave()
    rig.settle_down()
    return [body_of(data) for _, data, _ in hand.got]


def fill(rig: Rig, key: str, n: int) -> None:
    for i in range(n):
        rig.send(key, b"%d" % i)
    rig.settle_down()


def test_a_full_queue_drops_its_head() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length": 2})
    fill(rig, "q", 5)
    assert waiting(rig, "q") == [b"3", b"4"]
    assert queue.dropped == 3
    rig = rig.crash()
    assert waiting(rig, "q") == [b"3", b"4"]


def test_what_is_with_consumers_takes_no_room() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length": 1})
    hand = Hand(rig, queue, prefetch=2)
    fill(rig, "q", 4)
    assert [body_of(data) for _, data, _ in hand.got] == [b"0", b"1"]
    assert queue.ready_count() == 1
    hand.leave()  # what comes back makes it too long again
    rig.settle_down()
    assert queue.ready_count() == 1


def test_the_length_counts_at_once() -> None:
    """A publish and a look in one turn of the loop."""
    rig = Rig()
    rig.queue("q", arguments={"x-max-length": 1})
    rig.send("q", b"0")
    rig.send("q", b"1")
    assert rig.vhost.queue("q", None).ready_count() == 1


def test_a_length_in_bytes() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length-bytes": 10})
    for body in (b"aaaa", b"bbbb", b"cccc"):
        rig.send("q", body)
    rig.settle_down()
    assert waiting(rig, "q") == [b"bbbb", b"cccc"]
    assert queue.ready_bytes() == 8
    rig = rig.crash()
    rig.send("q", b"dddd")
    rig.settle_down()
    assert waiting(rig, "q") == [b"cccc", b"dddd"]


def test_bytes_are_counted_whatever_happens() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length-bytes": 100_000})
    hand = Hand(rig, queue, prefetch=3)
    for i in range(40):
        rig.send("q", b"x" * i)
    rig.settle_down()
    hand.settle(2, ACCEPTED)
    hand.leave()
    rig.settle_down()
    assert queue.ready_bytes() == sum(range(40)) - 1
    rig = rig.crash()
    queue = rig.vhost.queue("q", None)
    assert queue.ready_bytes() == sum(range(40)) - 1
    assert queue.purge() == 39
    assert queue.ready_bytes() == 0


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_a_full_queue_refuses(overflow: str) -> None:
    rig = Rig()
    arguments = {"x-max-length": 1, "x-overflow": overflow, "x-dead-letter-exchange": "amq.fanout"}
    queue = rig.queue("q", arguments=arguments)
    rig.queue("dead")
    rig.vhost.bind_queue("dead", "amq.fanout", "", {}, None)
    rig.send("q", b"0")
    assert not rig.vhost.refused
    rig.send("q", b"1")
    assert rig.vhost.refused
    rig.settle_down()
    assert waiting(rig, "q") == [b"0"]
    assert queue.refused == 1
    assert waiting(rig, "dead") == ([b"1"] if overflow == "reject-publish-dlx" else [])


def test_a_queue_of_no_length_refuses_all() -> None:
    """Also what a consumer waits for, as RabbitMQ's classic queues do."""
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    hand = Hand(rig, queue, prefetch=1)
    rig.settle_down()
    rig.send("q", b"0")
    assert rig.vhost.refused
    rig.settle_down()
    assert hand.got == []


def test_what_consumers_have_credit_for_is_not_in_the_way_of_a_burst() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    hand = Hand(rig, queue, prefetch=2)
    refused: list[bool] = []
    for n in range(4):  # all in one turn: nothing has been handed out yet
        rig.send("q", b"%d" % n)
        refused.append(rig.vhost.refused)
        rig.vhost.refused = False
    assert refused == [False, False, False, True]
    rig.settle_down()
    assert [body_of(data) for _, data, _ in hand.got] == [b"0", b"1"]
    assert waiting(rig, "q") == [b"2"]


def test_a_publish_is_weighed_before_it_is_refused() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-max-length-bytes": 4, "x-overflow": "reject-publish"})
    refused = []
    for body in (b"12345", b"123", b"12", b"4", b"5"):
        rig.send("q", body)
        refused.append(rig.vhost.refused)
        rig.vhost.refused = False
    assert refused == [True, False, True, False, True]


def test_priorities() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-max-priority": 5})
    for priority in (0, 3, None, 9, 5, 3):
        rig.send("q", b"%d" % (priority or 0), Properties(priority=priority))
    rig.settle_down()
    order = [b"9", b"5", b"3", b"3", b"0", b"0"]
    assert waiting(rig, "q") == order
    rig = rig.crash()
    queue = rig.vhost.queue("q", None)
    assert queue.ready_count() == 6
    assert waiting(rig, "q") == order
    assert queue.purge() == 6
    rig.settle_down()
    assert rig.crash().vhost.queue("q", None).ready_count() == 0


def test_priorities_on_pages() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-max-priority": 2})
    for i in range(600):
        rig.send("q", b"%d" % i, Properties(priority=i % 3))
    rig.settle_down()
    rig = rig.crash()
    assert len(rig.disk.pages.list()) > 10
    got = [int(body) for body in waiting(rig, "q")]
    assert got == [i for p in (2, 1, 0) for i in range(600) if i % 3 == p]
    rig.vhost.delete_queue("q", False, False, None)
    rig.settle_down()
    assert rig.disk.pages.list() == []


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_rejected_is_moved(restart: bool) -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    rig.queue("dead")
    hand = Hand(rig, queue)
    fill(rig, "q", 3)
    assert hand.settle(2, REJECTED)
    rig.settle_down()
    hand.leave()
    rig.settle_down()
    if restart:
        rig = rig.crash()
    assert waiting(rig, "q") == [b"0", b"2"]
    assert waiting(rig, "dead") == [b"1"]


def test_dead_letters_of_a_long_queue() -> None:
    rig = Rig()
    rig.queue(
        "q",
        arguments={"x-max-length": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    )
    rig.queue("dead")
    fill(rig, "q", 500)
    rig = rig.crash()
    assert waiting(rig, "q") == [b"%d" % i for i in range(490, 500)]
    assert waiting(rig, "dead") == [b"%d" % i for i in range(490)]


def test_dead_letters_without_a_place_to_go_are_dropped() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-dead-letter-exchange": "nowhere"})
    hand = Hand(rig, queue)
    fill(rig, "q", 2)
    hand.settle(1, REJECTED)
    rig.settle_down()
    assert (queue.ready_count(), queue.unsettled_count(), queue.sleeping_count()) == (0, 1, 0)
    rig = rig.crash()
    assert waiting(rig, "q") == [b"1"]


def test_a_dead_letter_says_why() -> None:
    rig = Rig()
    queue = rig.queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    rig.queue("dead")
    hand = Hand(rig, queue)
    fill(rig, "q", 1)
    hand.settle(1, REJECTED)
    rig.settle_down()
    other = Hand(rig, rig.vhost.queue("dead", None))
    rig.settle_down()
    assert headers_of(other.got[0][1])["x-first-death-reason"] == "rejected"


def test_at_least_once_keeps_what_no_queue_takes() -> None:
    rig = Rig()
    arguments: dict[str, object] = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "amq.direct",
        "x-dead-letter-strategy": "at-least-once",
    }
    queue = rig.queue("q", arguments=arguments)
    hand = Hand(rig, queue)
    fill(rig, "q", 3)
    hand.settle(0, REJECTED, True)
    rig.settle_down()
    hand.leave()
    rig.settle_down()
    assert (queue.ready_count(), queue.sleeping_count()) == (0, 3)
    rig.queue("dead", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    rig.vhost.bind_queue("dead", "amq.direct", "q", {}, None)  # tried again at once
    rig.settle_down()
    assert waiting(rig, "dead") == [b"0", b"1"]
    assert queue.sleeping_count() == 1
    assert rig.vhost.queue("dead", None).purge() == 2
    rig.broker.tick(10_000)
    rig.settle_down()
    assert waiting(rig, "dead") == [b"2"]
    assert queue.sleeping_count() == 0


def test_at_least_once_does_not_go_round_in_circles() -> None:
    rig = Rig()
    arguments = {
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-message-ttl": 100,
        "x-queue-type": "quorum",
    }
    queue = rig.queue("q", arguments=arguments)
    fill(rig, "q", 1)
    rig.at(1_000)
    rig.broker.work()
    rig.settle_down()
    assert (queue.ready_count(), queue.sleeping_count()) == (0, 0)


def test_priorities_of_a_quorum_queue() -> None:
    """Unasked; 4 where a message has none, 31 at most."""
    rig = Rig()
    queue = rig.queue("q", arguments={"x-queue-type": "quorum", "x-max-length": 5})
    for priority in (1, None, 40, 31, 4, 9, 0):
        rig.send("q", str(priority).encode(), Properties(priority=priority))
    rig.settle_down()
    assert queue.dropped == 2  # the lowest go first
    order = [b"40", b"31", b"9", b"None", b"4"]
    rig = rig.crash()
    assert waiting(rig, "q") == order
