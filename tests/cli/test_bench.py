"""`leveret bench` against a started broker: counts, times, ratios, and what stands in its way."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leveret.benchmark.plan import Plan
from leveret.benchmark.run import prepared
from leveret.cli import exits, main
from leveret.client import connect
from leveret.errors import Refused
from tests.compat.broker import Address, running_broker
from tests.differential.brokers import broker as a_broker

pytest.importorskip("hdrh")
pytest.importorskip("pika")

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
QUICK = ["--duration", "0.3", "--warmup", "0.1"]


@pytest.fixture(scope="module")
def broker() -> Iterator[Address]:
    with running_broker() as address:
        yield address


def bench(capsys: pytest.CaptureFixture[str], scenario: str, url: str, *options: str) -> Any:
    assert main.main(["bench", scenario, "--url", url, "--json", *options]) == exits.OK
    return json.loads(capsys.readouterr().out)


def test_throughput_counts_what_is_published_confirmed_and_delivered(
    broker: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bench(
        capsys, "throughput", broker.url, *QUICK, "--processes", "2", "--connections", "2", "--queues", "2"
    )
    assert found["published_per_s"] > 0
    assert found["confirmed_per_s"] > 0
    assert found["delivered_per_s"] > 0
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99.9"]
    assert found["confirm_ms"]["max"] > 0
    assert found["refused"] == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--window", "0", "--ack-every", "0", "--transient"],
        ["--window", "1", "--ack-every", "1"],
        ["--consumers", "0"],
        ["--size", "0"],
        ["--size", "300000"],  # in several frames
        ["--rate", "5000", "--connections", "3"],
    ],
)
def test_so_many_messages_and_no_more_nor_less(
    broker: Address, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    found = bench(capsys, "throughput", broker.url, "--messages", "37", *options)
    assert found["published_per_s"] > 0
    assert ("delivered_per_s" in found) == (options != ["--consumers", "0"])
    assert bool(found["latency_ms"]) == (options not in (["--consumers", "0"], ["--size", "0"]))


def test_latency_is_measured_at_a_rate(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(capsys, "latency", broker.url, "--rate", "1000", "--messages", "100")
    assert found["latency_ms"]["p50"] > 0
    assert found["published_per_s"] < 2000


def test_fanout_delivers_a_copy_to_each_queue(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(capsys, "fanout", broker.url, "--queues", "3", "--messages", "500")
    assert found["options"]["consumers"] == 3
    assert found["delivered_per_s"] > 0


def test_a_backlog_is_filled_then_drained(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(capsys, "backlog", broker.url, "--messages", "3000", "--queues", "2", "--connections", "2")
    assert found["filled_per_s"] > 0
    assert found["drained_per_s"] > 0


def test_calls_are_answered(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(capsys, "rpc", broker.url, "--messages", "50", "--window", "3")
    assert found["answered_per_s"] > 0
    assert found["latency_ms"]["p50"] > 0


def check_compared(found: Any) -> None:
    values = found["compared"]["delivered_per_s"]
    assert values["ratio"] == pytest.approx(values["first"] / values["second"], rel=0.01)
    times = found["compared"]["latency_ms p50"]
    assert times["ratio"] == pytest.approx(times["second"] / times["first"], rel=0.01)


def test_two_brokers_are_compared_in_turns(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    """One broker is in both places."""
    options = ["--compare", broker.url, "--rounds", "1", "--messages", "200"]
    found = bench(capsys, "throughput", broker.url, *options)
    assert len(found["runs"]) == 2
    check_compared(found)


@pytest.mark.skipif(not RABBITMQ.exists(), reason="RabbitMQ is not installed")
def test_rabbitmq_is_measured_like_leveret(
    broker: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_broker("rabbitmq", tmp_path) as rabbitmq:
        options = ["--compare", rabbitmq.url, "--rounds", "1"]
        found = bench(capsys, "throughput", broker.url, *options, "--messages", "3000")
        assert [run["broker"]["product"] for run in found["runs"]] == ["Leveret", "RabbitMQ"]
        check_compared(found)
        transient = ["--window", "0", "--ack-every", "0", "--transient", "--messages", "3000"]
        assert bench(capsys, "throughput", rabbitmq.url, *transient)["delivered_per_s"] > 0
        assert (
            bench(capsys, "fanout", rabbitmq.url, "--queues", "3", "--messages", "300")["delivered_per_s"] > 0
        )
        assert bench(capsys, "backlog", rabbitmq.url, "--messages", "1000")["drained_per_s"] > 0
        assert bench(capsys, "rpc", rabbitmq.url, "--messages", "30")["answered_per_s"] > 0


def test_what_it_made_is_gone_afterwards(broker: Address) -> None:
    async def look() -> None:
        plan = Plan(scenario="fanout", url=broker.url, queues=2)
        async with connect(broker.url) as client:
            with pytest.raises(KeyError):
                async with prepared(plan):
                    assert (await client.look_at_queue(plan.queue(1))).messages == 0
                    raise KeyError
            with pytest.raises(Refused) as caught:
                await client.look_at_queue(plan.queue(1))
            assert caught.value.code == 404

    asyncio.run(look())


def test_without_a_url_it_starts_a_broker_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "rates.svg"
    words = ["throughput", *QUICK, "--plot", str(picture), "--dir", str(tmp_path)]
    assert main.main(["bench", *words]) == exits.OK
    assert "Leveret" in capsys.readouterr().out
    assert picture.read_text().count("<svg") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rates.svg"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (
            ["throughput", "--url", "amqp://127.0.0.1:1"],
            exits.NO_BROKER,
            "no broker could be reached: 127.0.0.1:1",
        ),
        (["throughput", "--url", "http://localhost"], exits.USAGE, "amqp or amqps"),
        (["latency", "--rate", "0"], exits.USAGE, "--rate"),
        (["throughput", "--processes", "5"], exits.USAGE, "--processes 5"),
        (["fanout", "--consumers", "1"], exits.USAGE, "--consumers 1"),
        (["throughput", "--ack-every", "2000"], exits.USAGE, "never come without an ack"),
        (["throughput", "--queues", "2", "--consumers", "2"], exits.USAGE, "--queues 2"),
        (["backlog", "--messages", "0"], exits.USAGE, "--messages"),
        (["throughput", "--plot", "picture.txt"], exits.USAGE, ".svg"),
        (["throughput", "--plot", "nowhere/x.svg"], exits.USAGE, "no directory nowhere that can be written"),
        (["throughput", "--wndow", "1"], exits.USAGE, "No such option"),
        (["throughput", "--rounds", "3"], exits.USAGE, "--rounds is for --compare"),
        (
            ["throughput", "--messages", "3", "--duration", "1"],
            exits.USAGE,
            "--messages says when it is over",
        ),
        (["rpc", "--ack-every", "3"], exits.USAGE, "No such option"),
    ],
)
def test_what_stands_in_the_way_is_said(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["bench", *words]) == code
    assert text in capsys.readouterr().err


def test_a_wrong_password_is_a_refusal(broker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    url = broker.url.replace("guest:guest@", "guest:wrong@")
    assert main.main(["bench", "throughput", "--url", url]) == exits.REFUSED
    assert "refused" in capsys.readouterr().err


def test_a_full_disk_is_said_before_anything_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main.main(["bench", "backlog", "--dir", str(tmp_path)]) == exits.FAILED
    assert "1 MiB left" in capsys.readouterr().err


def test_without_the_library_for_percentiles_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    assert main.main(["bench", "throughput"]) == exits.FAILED
    assert "leveret[bench]" in capsys.readouterr().err
