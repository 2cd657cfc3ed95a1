"""What the benchmarks read (a broker's log, a generator's figures, a profile, /proc), and what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import main, procfs
from bench.brokers import port_and_pid, ready_port
from bench.generators import GeneratorFailed, parse
from bench.instructions import NotCounted, compare, total

READY = '{"time": "t", "event": "ready", "addresses": {"amqp": "127.0.0.1:4711"}}'


@pytest.mark.parametrize(
    ("log", "port"),
    [
        ("", 0),
        ('{"event": "starting", "addresses": {"amqp": "127.0.0.1:1"}}\n', 0),
        (READY, 4711),
        ('{"event": "starting"}\nnot JSON "ready"\n' + READY + "\n", 4711),
        (READY[:-2], 0),
        ('{"event": "ready", "addresses": {"amqp": "[::1]:5672"}}', 5672),
        ('{"event": "ready", "addresses": {"stomp": "127.0.0.1:61613"}}', 0),
    ],
)
def test_the_port_is_in_the_ready_line(log: str, port: int) -> None:
    assert ready_port(log) == port


def test_a_listener_s_port_is_beside_it() -> None:
    log = '{"event": "ready", "addresses": {"amqp": "127.0.0.1:4711", "stomp": "127.0.0.1:61613"}}\n'
    assert (ready_port(log), ready_port(log, "stomp"), ready_port(log, "web_stomp")) == (4711, 61613, 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("5672", (5672, 0)),
        ("5672,4711", (5672, 4711)),
        ("amqp://guest:guest@127.0.0.1:25673/%2F", (25673, 0)),
        ("amqp://guest:guest@localhost:5672,12", (5672, 12)),
        ("amqp://localhost:5672/", (5672, 0)),
    ],
)
def test_a_running_rabbitmq_is_named(text: str, address: tuple[int, int]) -> None:
    assert port_and_pid(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "5672,", "5672,x", "amqp://localhost/"])
def test_what_names_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PORT"):
        port_and_pid(text)


def test_figures_are_the_last_json_line() -> None:
    assert parse('hello\n{"a":1}\n{"deliver_rate":12.5,"lost":0}\n') == {"deliver_rate": 12.5, "lost": 0.0}


def test_no_figures_are_an_error() -> None:
    with pytest.raises(GeneratorFailed, match="no figures"):
        parse("Segmentation fault\n")


def test_the_total_is_of_the_whole_profile() -> None:
    assert total("events: Ir\nfn=(1)\n1 20\nsummary: 1234\ntotals: 1234\n") == 1234


def test_a_profile_without_total_is_not_counted() -> None:
    with pytest.raises(NotCounted):
        total("events: Ir\n")


@pytest.mark.parametrize(
    ("counted", "worse", "said"),
    [
        (1050, False, "+5.0%"),
        (1051, True, "more than 5 % worse"),
        (1000, False, "+0.0%"),
        (949, False, "write it down"),
    ],
)
def test_more_than_five_percent_worse_fails(counted: int, worse: bool, said: str) -> None:
    lines, failed = compare({"durable": counted}, {"durable": 1000})
    assert failed is worse
    assert said in lines[0]


def test_a_scenario_without_committed_figure_fails() -> None:
    lines, failed = compare({"new": 1}, {})
    assert failed
    assert "no committed figure" in lines[0]


def test_memory_and_time_of_this_process_are_found() -> None:
    assert procfs.rss_kb(os.getpid()) > 1_000
    assert procfs.cpu_s(os.getpid()) > 0
    assert os.getpid() in procfs.children(os.getpid())


def test_a_process_that_is_gone_is_nothing() -> None:
    gone = 1 << 30
    assert procfs.children(gone) == []
    assert procfs.rss_kb(gone) == 0


@pytest.mark.parametrize(("name", "value"), [("VmRSS", 123), ("VmSwap", 0)])
def test_a_field_of_status_is_read(name: str, value: int) -> None:
    assert procfs.field_kb("Name:\tx\nVmRSS:\t     123 kB\nVmData:\t 9 kB\n", name) == value


def test_names_of_lines_are_checked() -> None:
    assert [line.name for line in main.chosen(["first", "start"])] == ["first", "start"]
    assert main.chosen(["all"]) == main.LINES
    with pytest.raises(ValueError, match="no line 'frist'"):
        main.chosen(["frist"])


def test_lines_have_names_of_their_own() -> None:
    assert len({line.name for line in main.LINES}) == len(main.LINES)


def test_amqpload_has_no_place_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AMQPLOAD_SRC", raising=False)
    with pytest.raises(ValueError, match="AMQPLOAD_SRC"):
        main.amqpload(None, tmp_path)
