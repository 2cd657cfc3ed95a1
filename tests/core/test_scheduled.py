"""What is scheduled, in order, and taking it back."""

from __future__ import annotations

import pytest

from leveret.core.scheduled import Scheduled, Survey, cancel
from leveret.errors import CommandInvalid, NotFound
from tests.core.test_delays import START_MS, again, got, jump, later, started
from tests.rig import Rig


def survey(rig: Rig, limit: int = 1_000, queue: str = "") -> list[Scheduled]:
    owners = {int(rig.vhost.topology.queues[queue].qid)} if queue else None
    made = Survey(rig.broker.delays, owners, limit)
    while made.step():
        pass
    return made.found


def test_the_next_ones_come_first() -> None:
    rig = started(1 << 20)
    rig.queue("a")
    rig.queue("b")
    waits = [5_000, 1_000, 300_000_000, 70_000, 1_000]
    for n, wait_ms in enumerate(waits):
        later(rig, "ab"[n % 2], b"%d" % n, wait_ms)
    found = survey(rig)
    assert [int(each.due_ms) - START_MS for each in found] == sorted(waits)
    assert all(each.exact for each in found)
    assert [body_of(each) for each in found] == [b"1", b"4", b"0", b"3", b"2"]
    assert [body_of(each) for each in survey(rig, 2)] == [b"1", b"4"]
    assert [body_of(each) for each in survey(rig, 2, "b")] == [b"1", b"3"]


def body_of(item: Scheduled) -> bytes:
    message = item.message()
    return b"" if message is None else message.data


def test_every_one_is_there_whatever_its_time() -> None:
    rig = started(1 << 24)
    rig.queue()
    waits = sorted(1 + n**3 for n in range(2_000))
    for wait_ms in waits:
        later(rig, "q", b"x", wait_ms)
    assert [int(each.due_ms) - START_MS for each in survey(rig, 10_000)] == waits
    assert [int(each.due_ms) - START_MS for each in survey(rig, 77)] == waits[:77]


def test_what_is_due_and_waits_for_its_turn_is_listed_too() -> None:
    rig = started(1 << 24)
    rig.queue()
    for n in range(3_000):
        later(rig, "q", b"x", 1_000 + n)
    rig.at(START_MS + 10_000)
    rig.broker.work()
    later(rig, "q", b"x", 5)
    found = survey(rig, 10_000)
    assert len(found) == 3_000 - 2_048 + 1
    assert [int(each.due_ms) for each in found] == sorted(int(each.due_ms) for each in found)


def test_pages_that_were_not_read_since_the_start() -> None:
    rig = started(2_000)
    rig.queue()
    for n in range(100):
        later(rig, "q", b"x", 100_000 + n)
        rig.broker.tick(START_MS)
    rig.settle_down()
    rig = again(rig)
    found = survey(rig)
    assert len(found) == len({each.id() for each in found}) == 100
    unknown = [each for each in found if not each.exact]
    assert unknown
    assert all(START_MS + 100_000 <= int(each.due_ms) <= START_MS + 100_100 for each in found)
    assert all(each.message() is None for each in unknown)


@pytest.mark.parametrize("memory_bytes", [2_000, 1 << 20])
@pytest.mark.parametrize("crash", [True, False])
def test_one_that_is_cancelled_is_not_delivered(memory_bytes: int, crash: bool) -> None:
    rig = started(memory_bytes)
    rig.queue()
    for n in range(50):
        later(rig, "q", b"%d" % n, 60_000 + n)
        rig.broker.tick(START_MS)
    rig.settle_down()
    ids = [each.id() for each in survey(rig)]
    assert int(cancel(rig.broker, ids[7])) > 0
    with pytest.raises(NotFound, match="no scheduled message"):
        cancel(rig.broker, ids[7])
    rig.settle_down()
    if crash:
        rig = again(rig)
    assert ids[7] not in {each.id() for each in survey(rig)}
    jump(rig, START_MS + 70_000)
    assert got(rig) == [b"%d" % n for n in range(50) if n != 7]
    with pytest.raises(NotFound):
        cancel(rig.broker, ids[8])  # it was delivered


@pytest.mark.parametrize(
    "given", ["", "1", "1.2", "a.b.c", "1.2.3.4", "-1.256.0", "1.256.-1", "1.256.\u0663", "1..3"]
)
def test_what_is_no_id_is_refused(given: str) -> None:
    with pytest.raises(CommandInvalid, match="id of a scheduled message"):
        cancel(started().broker, given)


@pytest.mark.parametrize(
    "given", ["99.256.0", "1.0.0", "1.256.0", "1.1048576.0", "999999999999999999.999999999999999999.0"]
)
def test_nothing_else_can_be_cancelled(given: str) -> None:
    rig = started()
    queue = rig.queue()
    assert int(queue.qid) == 1
    rig.publish("q", b"waiting")
    with pytest.raises(NotFound):
        cancel(rig.broker, given)
    assert queue.ready_count() == 1
