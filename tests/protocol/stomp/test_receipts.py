"""Receipts: in order, and no earlier than what they are for is on disk; an ERROR comes behind those that are owed."""

from __future__ import annotations

import pytest

from .talker import Talker, frame


def receipts(talker: Talker) -> list[str]:
    return [each["receipt-id"] for each in talker.heard() if each.command == "RECEIPT"]


def ready(**settings: object) -> Talker:
    talker = Talker(**settings).opened()  # type: ignore[arg-type]
    talker.rig.queue("q")
    talker.sync()
    return talker


def test_a_persistent_send_is_told_when_it_is_on_disk() -> None:
    talker = ready()
    talker.send("/queue/q", b"x", persistent="true", receipt="r")
    assert receipts(talker) == []
    talker.sync()
    assert receipts(talker) == ["r"]
    again = Talker(talker.rig.crash()).opened()
    again.subscribe("/queue/q")
    assert again.bodies() == [b"x"]


def test_a_transient_send_waits_for_nothing() -> None:
    talker = ready()
    talker.send("/queue/q", b"x", receipt="r")
    assert receipts(talker) == ["r"]


def test_a_receipt_speaks_for_all_before_it() -> None:
    talker = ready()
    talker.send("/queue/q", b"1", persistent="true")
    talker.send("/queue/q", b"2", receipt="2")  # transient itself
    assert receipts(talker) == []
    talker.sync()
    assert receipts(talker) == ["2"]


def test_receipts_are_in_order_whatever_they_wait_for() -> None:
    talker = ready()
    for at in range(10):
        talker.send("/queue/q", b"x", persistent=str(at % 2 == 0).lower(), receipt=str(at))
        if at == 4:
            talker.sync()
    assert receipts(talker) == ["0", "1", "2", "3", "4", "5"]
    talker.sync()
    assert receipts(talker) == ["6", "7", "8", "9"]


def test_blocks_are_told_one_by_one() -> None:
    talker = ready()
    for at in range(3):
        talker.send("/queue/q", b"x", persistent="true", receipt=str(at))
        talker.rig.journal.urgent = True
        block = talker.rig.journal.take()
        assert block is not None
        talker.rig.disk.write(block)
        talker.rig.journal.written(block)
        talker.send("/queue/q", b"y", persistent="true", receipt=f"{at}+")
        talker.rig.broker.turn.settle_waiters()
        talker.rig.broker.turn.flush()
        told = receipts(talker)
        assert told == ([str(at)] if at == 0 else [f"{at - 1}+", str(at)])


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_every_command_has_its_receipt(version: str) -> None:
    talker = Talker(version=version).opened()
    name = "r:1 \\x" if version != "1.0" else "r"
    said = [
        ("SUBSCRIBE", {"destination": "/queue/q", "id": "0", "ack": "client"}),
        ("BEGIN", {"transaction": "t"}),
        ("SEND", {"destination": "/queue/q", "transaction": "t"}),
        ("COMMIT", {"transaction": "t"}),
        ("BEGIN", {"transaction": "t"}),
        ("ABORT", {"transaction": "t"}),
        ("SEND", {"destination": "/queue/q"}),
        ("UNSUBSCRIBE", {"id": "0"}),
        ("DISCONNECT", {}),
    ]
    for at, (command, headers) in enumerate(said):
        talker.does(command, headers | {"receipt": f"{name}{at}"})
    talker.sync()
    assert receipts(talker) == [f"{name}{at}" for at in range(len(said))]


def test_a_receipt_of_settling() -> None:
    talker = ready()
    talker.subscribe("/queue/q", ack="client-individual")
    talker.send("/queue/q", b"1")
    talker.send("/queue/q", b"2")
    first, second = talker.receives()
    talker.ack(first, receipt="a")
    talker.ack(second, "NACK", receipt="n", requeue="false")
    assert receipts(talker) == ["a", "n"]


def test_subscribing_to_what_is_new_waits_for_the_disk() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/new", receipt="s")
    assert receipts(talker) == []
    talker.sync()
    assert receipts(talker) == ["s"]
    assert "new" in talker.rig.crash().vhost.topology.queues


def test_the_first_send_to_a_queue_is_safe_only_with_the_queue() -> None:
    talker = Talker().opened()
    talker.send("/queue/new", b"x", persistent="true", receipt="r")
    talker.sync()
    assert receipts(talker) == ["r"]
    again = Talker(talker.rig.crash()).opened()
    again.subscribe("/amq/queue/new")
    assert again.bodies() == [b"x"]


def test_nobody_gets_it_is_no_error() -> None:
    talker = ready()
    talker.send("/topic/none", b"x", persistent="true", receipt="r")
    assert receipts(talker) == ["r"]


def test_an_error_comes_behind_the_receipts_that_are_owed() -> None:
    talker = ready()
    talker.says(
        frame("SEND", {"destination": "/queue/q", "persistent": "true", "receipt": "r"}, b"x")
        + frame("NONSENSE", {"receipt": "n"})
        + frame("SEND", {"destination": "/queue/q", "persistent": "true", "receipt": "never"}, b"y")
    )
    assert talker.heard() == []
    assert talker.conversation.is_closing()
    talker.sync()
    receipt, error = talker.heard()
    assert receipt["receipt-id"] == "r"
    assert (error.command, error["receipt-id"]) == ("ERROR", "n")
    assert talker.conversation.is_over()
    again = Talker(talker.rig.crash()).opened()
    again.subscribe("/queue/q")
    assert again.bodies() == [b"x"]


def test_a_message_that_a_full_queue_refuses_has_no_receipt_but_an_error() -> None:
    talker = Talker().opened()
    talker.rig.queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    talker.send("/queue/q", b"1", persistent="true", receipt="1")
    talker.send("/queue/q", b"2", persistent="true")  # nobody asked
    talker.send("/queue/q", b"3", persistent="true", receipt="3")
    talker.sync()
    receipt, error = talker.heard()
    assert receipt["receipt-id"] == "1"
    assert (error["message"], error["receipt-id"]) == ("Message refused", "3")
    other = Talker(talker.rig).opened()
    other.subscribe("/amq/queue/q")
    assert other.bodies() == [b"1"]
