"""What random histories found (tests/core/test_model.py), each by itself: moves that are not on disk yet, keys that came
back out of order, what is ready before a page that came back."""

from __future__ import annotations

import copy

from leveret.core.dedup import Window
from leveret.message import ACCEPTED, REJECTED, RELEASED
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig, body_of

DEAD_LETTERS: dict[str, object] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "d"}
LARGE = bytes(20_000)  # cut into fragments


def bodies(hand: Hand) -> list[bytes]:
    return [body_of(data) for _, data, _ in hand.got]


def moving(size: int) -> tuple[Rig, Hand, Hand]:
    """A message that was rejected, and whose move is on its way; consumers of both queues."""
    rig = Rig()
    first = Hand(rig, rig.queue("q", arguments=dict(DEAD_LETTERS)))
    second = Hand(rig, rig.queue("d"))
    rig.send("q", bytes(size))
    rig.settle_down()
    assert first.settle(first.got[0][0], REJECTED)
    rig.turn()
    rig.turn()
    return rig, first, second


def test_a_dead_letter_is_delivered_when_its_move_is_on_disk() -> None:
    for size in (100, len(LARGE)):
        rig, _, second = moving(size)
        assert second.got == []
        rig.settle_down()
        assert len(second.got) == 1


def test_until_then_it_is_where_it_was() -> None:
    for size in (100, len(LARGE)):
        rig, _, _ = moving(size)
        rig.sync(2 if size > 100 else 0)
        rig = rig.crash()
        assert rig.vhost.queue("q", None).ready_count() == 1
        assert rig.vhost.queue("d", None).ready_count() == 0


def test_moves_in_every_block_do_not_hold_each_other_up() -> None:
    rig = Rig()
    first = Hand(rig, rig.queue("q", arguments=dict(DEAD_LETTERS)))
    second = Hand(rig, rig.queue("d"))
    for n in range(50):
        rig.send("q", b"%d" % n)
        rig.turn()
        rig.sync(1)
        for tag, _, _ in first.got:
            first.settle(tag, REJECTED)
        first.got.clear()
        assert len(second.got) >= n - 4
    rig.settle_down()
    assert len(second.got) >= 49


def test_what_is_ready_before_a_page_that_came_back() -> None:
    """The cursor's page is dropped, something behind is requeued: what is ready between comes first."""
    rig = Rig()  # pages of 8
    queue = rig.queue("q")
    hand = Hand(rig, queue)
    for n in range(24):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    taker = Hand(rig, rig.queue("other"))
    rig.vhost.cancel(hand.consumer)
    assert hand.settle(9, RELEASED)  # of the second page
    for tag in range(1, 9):
        assert hand.settle(tag, RELEASED)
    rig.settle_down()
    again = Hand(rig, queue, prefetch=8)
    rig.settle_down()
    rig.vhost.cancel(again.consumer)
    assert again.settle(8, ACCEPTED, True)  # all of the first page, which is dropped
    assert hand.settle(17, RELEASED)  # of the third
    last = Hand(rig, queue)
    rig.settle_down()
    assert [int(data) for _, data, _ in last.got] == [8, 16]
    assert taker.got == []


def test_keys_that_come_back_out_of_order() -> None:
    window = Window(1_000, "", 10)
    for key, came in ((b"a" * 16, 5_000), (b"b" * 16, 500), (b"a" * 16, 100)):
        window.restored(window.fact(key, came))
    assert window.has(b"a" * 16, 5_900)
    assert not window.has(b"b" * 16, 5_900)
    assert not window.has(b"a" * 16, 6_000)


def test_a_duplicate_is_confirmed_when_the_first_is_on_disk() -> None:
    rig = Rig()
    rig.queue("q", arguments={"x-message-deduplication": 1_000})
    rig.sync()
    first = rig.send("q", LARGE, Properties(message_id="1"))
    assert rig.send("q", LARGE, Properties(message_id="1")) >= first > rig.journal.block
    rig.settle_down()
    assert rig.send("q", LARGE, Properties(message_id="1")) <= rig.journal.durable
    assert rig.vhost.queue("q", None).ready_count() == 1


def test_the_key_of_a_transient_message_does_not_outlive_it() -> None:
    rig = Rig(segment_bytes=8_192)
    rig.queue("q", arguments={"x-message-deduplication": 1_000_000})
    rig.queue("other")
    rig.send("q", b"1", Properties(message_id="1", delivery_mode=1))
    for _ in range(40):  # some segments, and a checkpoint with each
        rig.publish("other", bytes(1_000))
        rig.settle_down()
    rig = rig.crash()
    rig.send("q", b"2", Properties(message_id="1"))
    assert rig.vhost.queue("q", None).ready_count() == 1


def test_an_exchange_forgets_the_key_of_what_was_refused() -> None:
    rig = Rig()
    arguments: dict[str, object] = {"x-message-deduplication": 60_000}
    rig.vhost.declare_exchange("x", "direct", True, False, False, arguments, False)
    rig.queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    rig.vhost.bind_queue("q", "x", "q", {}, None)
    rig.send("q", b"in the way")
    rig.send("q", b"1", Properties(message_id="1"), exchange="x")
    assert rig.vhost.refused
    rig.vhost.queue("q", None).purge()
    rig.send("q", b"1", Properties(message_id="1"), exchange="x")
    hand = Hand(rig, rig.vhost.queue("q", None))
    rig.settle_down()
    assert bodies(hand) == [b"1"]


def test_a_refused_message_that_was_due_is_buried_in_one_record() -> None:
    rig = Rig()
    rig.at(1_000)
    rig.queue("d")
    arguments: dict[str, object] = {"x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    rig.queue("q", arguments={**arguments, **DEAD_LETTERS})
    rig.send("q", LARGE, Properties(headers={"x-deliver-after": 100}))
    rig.send("q", b"in the way")
    rig.settle_down()
    written = int(rig.journal.block)
    rig.at(1_100)
    rig.turn()
    rig.turn()
    for blocks in range(100):
        rig.sync(1)
        found = Rig(copy.deepcopy(rig.disk), *rig.sizes)
        queue = found.vhost.queue("q", None)
        delayed = queue.sleeping_count()
        assert delayed + found.vhost.queue("d", None).ready_count() == 1, blocks
        if not delayed:
            break
    assert int(rig.journal.block) > written


def test_a_group_waits_for_a_retry_over_a_restart() -> None:
    rig = Rig()
    rig.at(1_000)
    arguments: dict[str, object] = {
        "x-group-header": True,
        "x-retry": {"type": "fixed", "delay": 5_000, "max": 3},
    }
    hand = Hand(rig, rig.queue("q", arguments=arguments), prefetch=1)
    for body in (b"1", b"2"):
        rig.send("q", body, Properties(headers={"x-group-id": "g"}))
    rig.settle_down()
    assert hand.settle(hand.got[0][0], REJECTED)
    rig.settle_down()
    rig = rig.crash()
    rig.at(2_000)
    hand = Hand(rig, rig.vhost.queue("q", None))
    rig.settle_down()
    assert hand.got == []
    rig.pass_time(7_000)
    assert bodies(hand)[0] == b"1"
