"""The first connection: waited for where waiting helps, an error at once where it does not, and a log that stays short."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

import leveret
from leveret.client import Client
from leveret.errors import ConnectFailed
from leveret.worker import App, connecting
from leveret.worker.connecting import first_connection


class Absent:
    """A client of brokers that answer so, one after the other; then one is there."""

    def __init__(self, *answers: ConnectFailed) -> None:
        self.answers = list(answers)
        self.pauses: list[float] = []
        self.now_s = 0.0

    async def open(self) -> None:
        if self.answers:
            raise self.answers.pop(0)

    async def pause(self, seconds_s: float) -> None:
        self.pauses.append(seconds_s)
        self.now_s += seconds_s

    async def connect(self, wait: bool = True) -> Any:
        return await first_connection(lambda: self, wait, pause=self.pause, clock=lambda: self.now_s)


def failure(text: str, code: int = ConnectFailed.code) -> ConnectFailed:
    made = ConnectFailed(text)
    made.code = code
    return made


def test_it_is_waited_for_and_the_log_says_why_once(caplog: pytest.LogCaptureFixture) -> None:
    absent = Absent(*[failure("name not known")] * 3, *[failure("connection refused")] * 40)
    with caplog.at_level(logging.INFO, "leveret.worker"):
        assert asyncio.run(absent.connect()) is absent
    assert len(absent.pauses) == 43
    assert max(absent.pauses) <= connecting.MOST_S
    assert caplog.messages[:2] == [
        "name not known; trying again until one is there",
        "connection refused; trying again until one is there",
    ]
    assert all(text.startswith("still waiting, for ") for text in caplog.messages[2:-1])
    assert 1 <= len(caplog.messages[2:-1]) <= 4
    assert caplog.messages[-1].startswith("the broker is there, after ")


def test_whoever_does_not_want_to_wait_is_told_at_once() -> None:
    absent = Absent(failure("connection refused"))
    with pytest.raises(ConnectFailed, match="connection refused"):
        asyncio.run(absent.connect(wait=False))
    assert absent.pauses == []


@pytest.mark.parametrize("code", connecting.FINAL_CODES)
def test_what_waiting_does_not_mend_is_told_at_once(code: int) -> None:
    absent = Absent(failure("refused", code))
    with pytest.raises(ConnectFailed, match="refused"):
        asyncio.run(absent.connect())


@pytest.mark.parametrize("code", [320, 541])
def test_a_broker_that_is_just_starting_is_waited_for(code: int) -> None:
    assert asyncio.run((absent := Absent(failure("starting", code))).connect()) is absent


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda url: url._replace(netloc=f"nobody:wrong@{url.hostname}:{url.port}"), "Login was refused"),
        (lambda url: url._replace(path="/nowhere"), "refused: .*nowhere"),
        (lambda url: url._replace(scheme="ampq"), "ampq"),
    ],
)
def test_an_app_ends_at_once_for_a_wrong_address(change: Any, text: str) -> None:
    with leveret.run_in_thread() as broker:
        app = App(change(urlsplit(broker.url)).geturl())

        @app.consumer("jobs")
        async def handler(body: bytes) -> None: ...

        with pytest.raises(leveret.errors.ClientError, match=text):
            asyncio.run(asyncio.wait_for(app.run(), 20))


def test_an_app_that_waits_can_be_cancelled() -> None:
    app = App("amqp://127.0.0.1:1")

    @app.consumer("jobs")
    async def handler(body: bytes) -> None: ...

    async def main() -> None:
        task = asyncio.create_task(app.run())
        await asyncio.wait({task}, timeout=0.05)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectFailed):
            await app.run(wait=False)
        with pytest.raises(ConnectFailed):
            async with app.running():
                pass

    asyncio.run(main())


def test_an_open_client_is_what_it_gives() -> None:
    async def main() -> None:
        async with leveret.Broker() as broker:
            client = await first_connection(broker.connect, True)
            assert isinstance(client, Client) and client.connected
            await client.close()

    asyncio.run(main())
