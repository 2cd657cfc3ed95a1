"""Transactions: nothing before the commit, all of it or nothing after it, whatever happens in between."""

from __future__ import annotations

import pytest

from leveret.wire import methods, requests

from .talker import PERSISTENT, Talker, publish, request


def transactional() -> Talker:
    """Channel 1 in tx mode, channel 2 not; durable queues `in` with three messages and `out`."""
    talker = Talker().opened(1, 2)
    talker.declare("in", channel=2, durable=True)
    talker.declare("out", channel=2, durable=True)
    talker.says(*[publish(2, "in", body, PERSISTENT) for body in (b"1", b"2", b"3")])
    assert talker.asks(requests.tx_select, 1).name == "tx.select_ok"
    return talker


def take(talker: Talker) -> int:
    tag = talker.asks(requests.basic_get, 1, "in")["delivery_tag"]
    assert isinstance(tag, int)
    return tag


def move(talker: Talker) -> None:
    """One message from `in` to `out`, not committed."""
    talker.says(
        request(methods.basic_ack, 1, take(talker), False)
        + publish(1, "out", b"moved", PERSISTENT)
        + publish(1, "out", b"and more", PERSISTENT)
    )
    assert talker.heard() == []


def contents(talker: Talker) -> tuple[list[bytes], list[bytes]]:
    other = Talker(talker.rig).opened(1)
    return other.bodies("in"), other.bodies("out")


BEFORE: tuple[list[bytes], list[bytes]] = ([b"1", b"2", b"3"], [])
AFTER = ([b"2", b"3"], [b"moved", b"and more"])


def test_a_commit_does_all_of_it() -> None:
    talker = transactional()
    move(talker)
    assert talker.asks(requests.tx_commit, 1).name == "tx.commit_ok"
    assert contents(talker) == AFTER
    assert talker.connection.gathered_bytes == 0


def test_a_commit_is_answered_when_it_is_on_disk() -> None:
    talker = transactional()
    move(talker)
    talker.says(request(requests.tx_commit, 1))
    assert talker.heard() == []
    talker.sync()
    assert talker.names() == ["tx.commit_ok"]


def test_nothing_is_done_before_the_commit() -> None:
    talker = transactional()
    move(talker)
    assert contents(talker) == ([b"2", b"3"], [])  # the first is out and stays so
    talker.lost()
    assert contents(talker)[0] == [b"1"]


def test_a_rollback_forgets_publishes_and_unsettles_what_was_settled() -> None:
    talker = transactional()
    move(talker)
    assert talker.asks(requests.tx_rollback, 1).name == "tx.rollback_ok"
    assert talker.connection.gathered_bytes == 0
    assert contents(talker) == ([b"2", b"3"], [])
    talker.says(request(methods.basic_nack, 1, 1, False, True))
    assert talker.asks(requests.tx_commit, 1).name == "tx.commit_ok"
    assert contents(talker)[0] == [b"1"]


@pytest.mark.parametrize(
    "end", ["lost", "channel.close", "connection.close", "channel error", "connection error"]
)
def test_what_is_not_committed_is_undone_at_the_end(end: str) -> None:
    talker = transactional()
    move(talker)
    if end == "lost":
        talker.lost()
    else:
        talker.says(
            {
                "channel.close": request(methods.channel_close, 1, 200, "", 0, 0),
                "connection.close": request(methods.connection_close, 200, "", 0, 0),
                "channel error": request(methods.basic_ack, 1, 99, False),
                "connection error": request(methods.channel_flow, 1, False),
            }[end]
        )
    assert talker.connection.gathered_bytes == 0
    assert contents(talker) == BEFORE


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_crash_leaves_all_or_nothing(on_disk: bool) -> None:
    talker = transactional()
    move(talker)
    talker.sync()
    talker.says(request(requests.tx_commit, 1))
    if on_disk:
        talker.sync()
    talker.rig = talker.rig.crash()
    assert contents(talker) == (AFTER if on_disk else BEFORE)


def test_a_large_commit_is_one_record_though_it_is_of_many_blocks() -> None:
    """Cut off after any number of its blocks, nothing of it is there."""
    for blocks in range(1, 40):
        talker = Talker().opened(1)
        talker.declare("d", durable=True)
        talker.asks(requests.tx_select, 1)
        talker.says(publish(1, "d", bytes(1_500), PERSISTENT) * 8 + request(requests.tx_commit, 1))
        talker.rig.sync(blocks)
        done = talker.rig.journal.empty()
        talker.rig = talker.rig.crash()
        found = Talker(talker.rig).opened(1).bodies("d")
        assert len(found) == (8 if done else 0)
        if done:
            assert blocks > 8
            return
    raise AssertionError("it never ends")


def test_queues_are_found_when_a_message_is_published() -> None:
    """As in RabbitMQ: what is bound later gets nothing, and what is gone by the commit neither."""
    talker = transactional()
    talker.says(publish(1, "out", b"x", PERSISTENT) + publish(1, "later", b"x", PERSISTENT))
    assert talker.asks(requests.queue_delete, 2, "out").name == "queue.delete_ok"
    talker.declare("later", channel=2)
    assert talker.asks(requests.tx_commit, 1).name == "tx.commit_ok"
    talker.declare("out", channel=2)
    assert talker.bodies("out", 2) == []
    assert talker.bodies("later", 2) == []


def test_a_mandatory_message_comes_back_at_the_commit() -> None:
    talker = transactional()
    talker.says(publish(1, "nobody", b"x", mandatory=True))
    assert talker.heard() == []
    talker.says(request(requests.tx_commit, 1))
    talker.sync()
    returned, done = talker.heard()
    assert (returned.name, returned.body, done.name) == ("basic.return", b"x", "tx.commit_ok")


def test_requests_behind_a_commit_wait_for_it() -> None:
    talker = transactional()
    talker.says(publish(1, "out", b"x", PERSISTENT) + request(requests.tx_commit, 1) * 2)
    talker.says(publish(1, "out", b"y", PERSISTENT) + request(requests.tx_commit, 1))
    talker.sync()
    assert talker.names() == ["tx.commit_ok"] * 3
    assert contents(talker)[1] == [b"x", b"y"]


def test_a_transaction_is_bounded() -> None:
    talker = transactional()
    for _ in range(70):
        talker.says(publish(1, "out", bytes(1_000_000)))
    assert [each["reply_code"] for each in talker.heard()] == [506]
    assert talker.connection.gathered_bytes == 0
    assert contents(talker) == BEFORE
