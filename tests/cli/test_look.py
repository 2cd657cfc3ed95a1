"""The table of queues: wide only where there is something to be seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leveret.cli.look import COUNTERS, show_queues
from leveret.core.broker import Broker
from leveret.core.queue import Queue
from leveret.journal import Journal, Pager
from leveret.server.admin_queues import counters, queue_row


def row(**more: Any) -> dict[str, Any]:
    return {
        "name": "q", "type": "classic", "state": "running", "ready": 1, "unacknowledged": 0, "delayed": 0,
        "waiting_for_retry": 0, "consumers": 0, "durable": True, "exclusive": False, "auto_delete": False,
        "arguments": {}, "expired": 0, "dead_lettered": 0, **more,
    }  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *rows: dict[str, Any]) -> list[str]:
    show_queues(rows, False)
    return capsys.readouterr().out.splitlines()


def test_a_plain_queue(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, row()) == [
        "name  type     ready  unacknowledged  consumers  kept     arguments",
        "q     classic      1               0          0  durable",
    ]
    assert len(shown(capsys)) == 1


def test_what_is_in_play_has_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    busy = row(
        type="quorum", delayed=4, waiting_for_retry=2, expired=8, dead_lettered=9, durable=False, exclusive=True,
        arguments={"x-queue-type": "quorum", "x-single-active-consumer": True, "x-dead-letter-exchange": "",
                   "x-max-length": 5},
    )  # fmt: skip
    head, first, second = shown(capsys, row(), busy)
    assert head == (
        "name  type     ready  unacknowledged  delayed  waiting for retry  consumers  so far                      kept"
        "                  arguments"
    )
    assert first.split() == ["q", "classic", "1", "0", "0", "0", "0", "durable"]
    assert second.endswith(
        '8 expired, 9 dead lettered  transient, exclusive  x-single-active-consumer=true x-dead-letter-exchange=""'
        " x-max-length=5"
    )


def test_a_queue_that_cannot_be_read_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, row(state="unreadable"))[1].split()[:2] == ["q", "unreadable"]


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    show_queues([row()], True)
    assert json.loads(capsys.readouterr().out) == [row()]


def test_every_count_that_the_broker_tells_is_shown() -> None:
    broker = Broker(Journal(), Pager())
    vhost = broker.add_vhost("/")
    arguments = {"x-retry": "fixed", "x-message-deduplication": 5, "x-unique": "refuse"}
    vhost.declare_queue("q", True, False, False, arguments, False, None)
    queue = vhost.queue("q", None)
    assert isinstance(queue, Queue)
    assert set(counters(queue)) == set(COUNTERS)
    assert set(row()) <= set(queue_row(queue))
