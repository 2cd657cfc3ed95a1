"""How a plan is dealt out to processes and connections, and which plans are none."""

from __future__ import annotations

import pytest

from leveret.benchmark.plan import Plan, Senseless, Share, share_from_json, shares


def test_connections_are_dealt_out_in_turn_and_none_is_left() -> None:
    found = shares(Plan(connections=5, consumers=2, processes=3))
    assert [share.publishers for share in found] == [[0, 3], [1, 4], [2]]
    assert [share.takers for share in found] == [[0], [1], []]


def test_a_process_without_work_is_not_started() -> None:
    found = shares(Plan(connections=5, consumers=2, processes=3), publish=False)
    assert [share.takers for share in found] == [[0], [1]]


@pytest.mark.parametrize(("connections", "messages"), [(1, 7), (3, 7), (3, 9), (5, 5)])
def test_messages_are_shared_by_connections_and_add_up(connections: int, messages: int) -> None:
    plan = Plan(connections=connections, consumers=1, processes=2, messages=messages)
    found = [count for share in shares(plan) for count in share.messages_each()]
    assert sum(found) == messages
    assert max(found) - min(found) <= 1


def test_a_share_is_the_same_in_another_process() -> None:
    share = Share(Plan(url="amqp://x", rate=2.5, persistent=False), [1, 3], [0])
    assert share_from_json(share.as_json()) == share


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(size_bytes=-1), "--size"),
        (Plan(connections=20_000), "at most"),
        (Plan(processes=2), "--processes 2"),
        (Plan(queues=2, consumers=2), "--queues 2"),
        (Plan(scenario="backlog"), "--messages"),
        (Plan(connections=3, messages=2), "--messages 2"),
        (Plan(scenario="latency", rate=5, consumers=0), "--consumers 0"),
        (Plan(prefetch=10), "--ack-every 50"),
        (Plan(scenario="latency"), "--rate"),
    ],
)
def test_what_makes_no_sense_is_named(plan: Plan, text: str) -> None:
    with pytest.raises(Senseless, match=text):
        plan.check()
