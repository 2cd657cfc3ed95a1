"""What is counted is what is meant: every scenario's messages arrive, and a publish is as clients write it."""

from __future__ import annotations

import pytest

from bench import messages, sansio, sansio_client
from bench.client import HEADER, METHOD
from bench.instructions import SCENARIOS, driver_of
from leveret.wire.properties import decode_properties, delivery_mode_at
from leveret.wire.table import decode_table


def test_scenarios_are_those_that_are_counted() -> None:
    assert (*sansio.SCENARIOS, *sansio_client.SCENARIOS) == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_messages_of_a_scenario_arrive(scenario: str) -> None:
    driver = {"bench.sansio": sansio, "bench.sansio_client": sansio_client}[
        driver_of(scenario, "bench.sansio")
    ]
    driver.run(scenario, 2 * sansio.BATCH)  # it ends the process when one is missing


def test_a_celery_task_has_its_headers() -> None:
    data = messages.properties(persistent=True, celery=True)
    at = 2 + 1 + len("application/json") + 1 + len("utf-8")
    size = int.from_bytes(data[at : at + 4], "big")
    table = decode_table(data[at : at + 4 + size])
    assert {name: value for name, value in table.items() if name not in ("timelimit", "stamps")} == {
        name: value for name, value in messages.CELERY_HEADERS.items() if name not in ("timelimit", "stamps")
    }
    assert delivery_mode_at(data, 0, messages.CELERY_FLAGS, len(data)) == 2


def test_a_publish_is_method_header_and_body() -> None:
    data = messages.publish(1, "q", b"body", persistent=True, celery=False)
    kinds, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 3 : at + 7], "big")
        kinds.append(data[at])
        assert data[at + 7 + size] == 0xCE
        at += size + 8
    assert kinds == [METHOD, HEADER, 3]


def test_what_a_message_asks_stands_in_its_properties() -> None:
    asks = messages.Asks(headers={"x-group-id": "a", "x-deliver-after": 500}, priority=7, expiration="60000")
    data = messages.properties(persistent=True, celery=False, asks=asks)
    found = decode_properties(data)
    assert (found.headers, found.priority, found.expiration) == (asks.headers, 7, "60000")
    assert found.delivery_mode == 2
