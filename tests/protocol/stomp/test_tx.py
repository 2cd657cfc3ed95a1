"""Transactions over SEND, ACK and NACK: nothing before COMMIT, all of it or nothing after it, whatever happens between."""

from __future__ import annotations

import pytest

from ...rig import Rig
from .talker import Frame, Talker

VERSIONS = ("1.0", "1.1", "1.2")
BEFORE: tuple[list[bytes], list[bytes]] = ([b"1", b"2", b"3"], [])
AFTER = ([b"3"], [b"moved", b"and more"])


def transactional(version: str = "1.2", mode: str = "client-individual") -> tuple[Talker, list[Frame]]:
    """Durable queues `in`, with three messages that came, and `out`; transaction t has begun."""
    talker = Talker(version=version).opened()
    talker.rig.queue("in")
    talker.rig.queue("out")
    for body in (b"1", b"2", b"3"):
        talker.send("/queue/in", body, persistent="true")
    talker.subscribe("/queue/in", ack=mode)
    messages = talker.receives()
    talker.does("BEGIN", {"transaction": "t"})
    return talker, messages


def move(talker: Talker, messages: list[Frame]) -> None:
    """Two messages away from `in`, two into `out`, not committed."""
    talker.ack(messages[0], transaction="t")
    talker.send("/queue/out", b"moved", persistent="true", transaction="t")
    talker.send("/queue/out", b"and more", persistent="true", transaction="t", receipt="r")
    talker.ack(messages[1], "NACK", transaction="t", requeue="false")
    talker.sync()
    assert talker.heard() == []  # its receipt comes with the commit


def contents(rig: Rig) -> tuple[list[bytes], list[bytes]]:
    """Of both queues, once nobody else is there. They are empty then."""
    found: list[list[bytes]] = []
    for name in ("in", "out"):
        talker = Talker(rig).opened()
        talker.subscribe(f"/amq/queue/{name}")
        found.append(talker.bodies())
    return found[0], found[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_commit_does_all_of_it(version: str) -> None:
    talker, messages = transactional(version)
    move(talker, messages)
    talker.does("COMMIT", {"transaction": "t"})
    assert talker.conversation.gathered_bytes == 0
    talker.lost()
    assert contents(talker.rig) == AFTER


def test_nothing_is_done_before_the_commit() -> None:
    talker, messages = transactional()
    move(talker, messages)
    assert talker.rig.vhost.queue("out", None).ready_count() == 0
    talker.lost()
    assert contents(talker.rig) == BEFORE


@pytest.mark.parametrize("version", VERSIONS)
def test_an_abort_forgets_it_and_what_was_settled_is_unsettled(version: str) -> None:
    talker, messages = transactional(version)
    move(talker, messages)
    talker.does("ABORT", {"transaction": "t"})
    assert talker.conversation.gathered_bytes == 0
    talker.ack(messages[1])
    talker.ack(messages[0])
    talker.lost()
    assert contents(talker.rig) == ([b"3"], [])


def test_a_commit_is_told_when_it_is_on_disk() -> None:
    talker, messages = transactional()
    move(talker, messages)
    talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
    assert talker.heard() == []
    talker.sync()
    assert [each["receipt-id"] for each in talker.heard()] == ["r", "c"]
    assert contents(talker.rig.crash()) == AFTER


def test_what_was_given_up_has_no_receipts() -> None:
    talker, messages = transactional()
    move(talker, messages)
    talker.does("ABORT", {"transaction": "t", "receipt": "a"})
    talker.sync()
    assert talker.one()["receipt-id"] == "a"


def test_after_a_crash_there_is_all_of_it_or_nothing() -> None:
    """Power off behind each block: small ones, so that a transaction would be in several if it were not one record."""
    seen = set()
    for blocks in range(8):
        talker, messages = transactional()
        talker.sync()
        move(talker, messages)
        talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
        talker.rig.sync(blocks)
        talker.rig.broker.turn.flush()
        told = [each["receipt-id"] for each in talker.heard()]
        found = contents(talker.rig.crash())
        assert found in (BEFORE, AFTER)
        if told:
            assert found == AFTER
        seen.add(found == AFTER)
    assert seen == {True, False}


def test_a_transaction_of_many_blocks_is_one_all_the_same() -> None:
    bodies = [b"%d" % at * 5_000 for at in range(10, 20)]
    seen = set()
    for blocks in (0, 1, 20, 60, 97, 98, 99, 100, 101, 120):  # it is in about a hundred
        talker = Talker().opened()
        talker.rig.queue("in")
        talker.rig.queue("out")
        talker.sync()
        talker.does("BEGIN", {"transaction": "t"})
        for body in bodies:
            talker.send("/queue/out", body, persistent="true", transaction="t")
        talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
        talker.rig.sync(blocks)
        talker.rig.broker.turn.flush()
        told = talker.heard()
        found = contents(talker.rig.crash())
        assert found == ([], bodies) if told else found in (([], []), ([], bodies))
        seen.add(bool(told))
    assert seen == {True, False}


def test_a_cumulative_ack_in_a_transaction() -> None:
    talker, messages = transactional(mode="client")
    talker.ack(messages[1], transaction="t")
    talker.does("COMMIT", {"transaction": "t"})
    talker.lost()
    assert contents(talker.rig)[0] == [b"3"]


def test_transactions_side_by_side() -> None:
    talker, messages = transactional()
    talker.does("BEGIN", {"transaction": "u"})
    talker.ack(messages[0], transaction="t")
    talker.ack(messages[1], transaction="u")
    talker.send("/queue/out", b"t", transaction="t")
    talker.send("/queue/out", b"u", transaction="u")
    talker.does("ABORT", {"transaction": "t"})
    talker.does("COMMIT", {"transaction": "u"})
    talker.lost()
    assert contents(talker.rig) == ([b"1", b"3"], [b"u"])


def test_over_several_subscriptions() -> None:
    talker, messages = transactional()
    talker.send("/queue/other", b"o")
    talker.subscribe("/queue/other", "2", ack="client")
    (other,) = talker.receives()
    talker.ack(messages[0], transaction="t")
    talker.ack(other, transaction="t")
    talker.does("ABORT", {"transaction": "t"})
    talker.ack(other)
    talker.ack(messages[0])
    talker.lost()
    assert contents(talker.rig)[0] == [b"2", b"3"]
    assert talker.rig.vhost.queue("other", None).ready_count() == 0


@pytest.mark.parametrize("again", [False, True])
def test_a_queue_that_is_gone_by_the_commit_gets_nothing_unless_it_is_there_again(again: bool) -> None:
    talker, _ = transactional()
    talker.send("/queue/out", b"x", transaction="t", persistent="true")
    talker.rig.vhost.delete_queue("out", False, False, None)
    if again:
        talker.rig.queue("out")
    talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
    talker.sync()
    assert [each["receipt-id"] for each in talker.heard()] == ["c"]
    if not again:
        talker.rig.queue("out")
        talker.sync()
    assert contents(talker.rig.crash())[1] == ([b"x"] if again else [])


def test_a_send_that_a_queue_refuses_is_told_at_the_commit() -> None:
    talker = Talker().opened()
    talker.rig.vhost.declare_queue(
        "out", True, False, False, {"x-max-length": 2, "x-overflow": "reject-publish"}, False, None
    )
    talker.rig.queue("in")
    talker.does("BEGIN", {"transaction": "t"})
    for body in (b"1", b"2", b"3"):
        talker.send("/queue/out", body, transaction="t", receipt=body.decode(), persistent="true")
    talker.send("/queue/in", b"4", transaction="t", receipt="4", persistent="true")
    talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
    talker.sync()
    heard = talker.heard()
    assert [each.headers.get("receipt-id") for each in heard] == ["1", "2", "4", "c"]
    assert [each.command for each in heard] == ["RECEIPT"] * 3 + ["ERROR"]
    assert heard[-1]["message"] == "Message refused"
    assert contents(talker.rig.crash()) == ([b"4"], [b"1", b"2"])


def test_a_send_that_is_refused_and_wants_no_receipt_is_told_to_nobody() -> None:
    talker = Talker().opened()
    talker.rig.vhost.declare_queue(
        "out", True, False, False, {"x-max-length": 1, "x-overflow": "reject-publish"}, False, None
    )
    talker.does("BEGIN", {"transaction": "t"})
    for body in (b"1", b"2"):
        talker.send("/queue/out", body, transaction="t")
    talker.does("COMMIT", {"transaction": "t", "receipt": "c"})
    talker.sync()
    assert talker.one()["receipt-id"] == "c"


@pytest.mark.parametrize("name", ["t", ""])
def test_receipts_of_frames_that_no_transaction_is_about_do_not_wait_for_one(name: str) -> None:
    talker = Talker().opened()
    talker.does("BEGIN", {"transaction": name})
    stray = {"transaction": name} if name else {}
    talker.does("SUBSCRIBE", {"destination": "/queue/q", "id": "1", "receipt": "s"} | stray)
    talker.does("UNSUBSCRIBE", {"id": "1", "receipt": "u"} | stray)
    talker.send("/queue/q", b"x", receipt="in", transaction=name)
    talker.sync()
    assert [each["receipt-id"] for each in talker.heard()] == ["s", "u"]
    talker.does("COMMIT", {"transaction": name, "receipt": "c"})
    talker.sync()
    assert [each["receipt-id"] for each in talker.heard()] == ["in", "c"]


def test_a_commit_is_over_with() -> None:
    talker, _ = transactional()
    talker.does("COMMIT", {"transaction": "t"})
    talker.does("COMMIT", {"transaction": "t"})
    assert talker.fails()["message"] == "Bad transaction"


@pytest.mark.parametrize(
    ("command", "headers", "summary"),
    [
        ("BEGIN", {}, "Missing transaction"),
        ("COMMIT", {}, "Missing transaction"),
        ("ABORT", {}, "Missing transaction"),
        ("BEGIN", {"transaction": "t"}, "Bad transaction"),
        ("COMMIT", {"transaction": "u"}, "Bad transaction"),
        ("ABORT", {"transaction": "u"}, "Bad transaction"),
        ("SEND", {"transaction": "u", "destination": "/queue/out"}, "Bad transaction"),
    ],
)
def test_what_is_wrong(command: str, headers: dict[str, str], summary: str) -> None:
    talker, messages = transactional()
    move(talker, messages)
    talker.does(command, headers | {"receipt": "r"})
    error = talker.fails()
    assert (error["message"], error["receipt-id"]) == (summary, "r")
    assert contents(talker.rig) == BEFORE


def test_an_ack_in_a_transaction_that_has_not_begun() -> None:
    talker, messages = transactional()
    talker.ack(messages[0], transaction="u")
    assert talker.fails()["message"] == "Bad transaction"


def test_they_are_bounded() -> None:
    talker = Talker(gather_max_bytes=10_000).opened()
    for at in range(16):
        talker.does("BEGIN", {"transaction": str(at)})
    assert talker.heard() == []
    for at in range(20):
        talker.send("/queue/q", b"x" * 400, transaction=str(at % 16))
    error = talker.fails()
    assert error["message"] == "resource_error"
    assert talker.conversation.gathered_bytes == 0
    talker = Talker().opened()
    for at in range(17):
        talker.does("BEGIN", {"transaction": str(at)})
    assert talker.fails()["message"] == "Transaction limit exceeded"
