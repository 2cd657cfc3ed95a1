"""The example of self-healing: its ledger and its proxy can be relied upon, its judgement can fail; and a small run."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from examples.selfheal.ledger import Balance, Ledger
from examples.selfheal.proxy import Proxy
from tests.examples.running import assert_held, run_example

pytest.importorskip("matplotlib", reason="examples/selfheal/requirements.txt is not installed")

from examples.selfheal import drawing
from examples.selfheal.drawing import Fault
from examples.selfheal.run import KINDS, judge


def test_the_ledger_finds_what_is_missing_repeated_and_unknown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "book.db")
    for id in "abc":
        ledger.sent(id)
    ledger.sent("a")  # told twice: that is no second message
    assert [ledger.handled(id, "one") for id in "aabx"] == [True, False, True, True]
    assert ledger.handled("a", "two") is False
    assert ledger.balance() == Balance(sent=3, missing=("c",), unknown=("x",), repeats=2, most=3, effects=3)
    assert ledger.left() == 1
    assert ledger.counts() == (3, 5)
    assert ledger.workers() == {"one": 4, "two": 1}
    ledger.close()


def test_an_empty_ledger_has_a_balance(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "book.db")
    assert ledger.balance() == Balance(0, (), (), 0, 0, 0)
    ledger.close()


def test_two_processes_may_write_to_one_ledger(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path / "book.db"), Ledger(tmp_path / "book.db")
    assert one.handled("a", "one") is True
    assert two.handled("a", "two") is False
    assert one.counts() == (0, 2)
    one.close()
    two.close()


class Echo:
    """A server that says what it hears, on a free port. When it ends, so have its connections."""

    def __init__(self) -> None:
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Echo:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(port: int) -> bytes:
    """What comes back for a word over a line of its own; nothing if that is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    try:
        return await reader.read(100)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def test_the_network_passes_on_is_cut_refuses_and_is_mended() -> None:
    async def story() -> None:
        async with Echo() as there, Proxy(there.port) as network:
            reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            assert network.connections == 1
            network.down()
            with contextlib.suppress(ConnectionError):
                assert await reader.read(100) == b""
            writer.transport.abort()
            assert await ask(network.port) == b""
            assert network.refused == 1
            network.up()
            assert await ask(network.port) == b"hello"
            assert network.accepted == 2

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_client_that_leaves_is_not_kept() -> None:
    async def story() -> None:
        async with Echo() as there, Proxy(there.port) as network:
            reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            writer.close()
            while network.connections:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(story(), 30))


def good() -> dict[str, object]:
    faults = [Fault(kind, 0.0, 0.0, 0.1) for kind in KINDS]
    balance = Balance(sent=5, missing=(), unknown=(), repeats=2, most=2, effects=5)
    return {
        "balance": balance, "posted": 5, "failed": [], "faults": faults, "rounds": 1, "left": 0,
        "codes": {"worker-2": 0},
    }  # fmt: skip


def failed(story: dict[str, object]) -> list[str]:
    return [e.text for e in judge(**story) if not e.met]  # type: ignore[arg-type]


def test_a_good_story_meets_all_expectations() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize(
    ("damage", "expectation"),
    [
        ({"faults": [Fault("worker", 0.0, 0.0, 0.1)]}, "each was killed"),
        ({"posted": 6}, "every message that was posted was confirmed"),
        ({"failed": ["a"]}, "every message that was posted was confirmed"),
        ({"missing": ("a",)}, "nothing is lost"),
        ({"unknown": ("a",)}, "nothing was handled that nobody sent"),
        ({"effects": 4}, "every message had its effect once"),
        ({"left": 1}, "the queue is empty"),
        ({"codes": {"worker-2": 1}}, "the workers left in good order"),
        ({"codes": {}}, "the workers left in good order"),
    ],
)
def test_what_does_not_hold_is_named(damage: dict[str, object], expectation: str) -> None:
    story = good()
    balance = story["balance"]
    assert isinstance(balance, Balance)
    for name, value in damage.items():
        if hasattr(balance, name):
            story["balance"] = replace(balance, **{name: value})  # type: ignore[arg-type]
        else:
            story[name] = value
    assert any(text.startswith(expectation) for text in failed(story)), failed(story)


def test_rates_are_counted_in_ticks() -> None:
    assert drawing.rates([10.0, 10.1, 10.3], start_s=10.0, ticks=3) == [8.0, 4.0, 0.0]


def test_a_small_run_loses_nothing(tmp_path: Path) -> None:
    ended = run_example(
        "selfheal", tmp_path, "--rounds", "1", "--workers", "2", "--between", "20", "--down-s", "0.3"
    )
    assert_held(ended, "selfheal")
    for what in ("killed worker-1 ", "killed the broker ", "cut the network "):
        assert what in ended.output
