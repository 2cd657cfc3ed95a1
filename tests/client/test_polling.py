"""When the client stays awake: while somebody waits for an answer that comes by a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from leveret import busypoll, connect
from leveret.client import Client
from leveret.embed import Broker
from tests.client.inside import DEADLINE_S, run
from tests.client.test_calls import serving
from tests.polling import Polling


async def publish(client: Client) -> None:
    await client.publish("q", b"m")


async def call(client: Client) -> None:
    await client.call("rpc", 2)


async def get(client: Client) -> None:
    await client.get("q")


async def post(client: Client) -> None:
    await client.post("q", b"m")
    await client.flush()


@pytest.mark.parametrize(
    ("work", "waits"), [(publish, True), (call, True), (get, True), (post, False)], ids=lambda each: str(each)
)
def test_it_polls_for_what_somebody_waits_for(work: Callable[[Client], Awaitable[None]], waits: bool) -> None:
    async def main(client: Client) -> None:
        await client.declare_queue("q")
        async with serving(client):
            await work(client)  # opens what it needs
            assert client.link is not None
            polling = client.link.polling = Polling()  # type: ignore[assignment]
            await work(client)
            assert bool(polling.begun) == waits
            assert polling.ended

    run(main)


@pytest.mark.parametrize("limit_s", [0.000_2, 0.001, 0.0])
def test_how_long_is_for_links_by_sockets(monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
    monkeypatch.setattr(busypoll, "is_possible", lambda: True)

    async def main() -> None:
        async with (
            Broker(listen="127.0.0.1:0") as broker,
            connect(broker.url, busy_poll_s=limit_s) as far,
            connect(broker, busy_poll_s=limit_s) as inside,
        ):
            await far.declare_queue("q")
            for _ in range(3):
                await far.publish("q", b"m")
                await inside.publish("q", b"m")
            assert far.link is not None and inside.link is not None
            assert far.link.polling.limit_s == limit_s
            assert inside.link.polling.limit_s == 0

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


@pytest.mark.parametrize("limit_s", [-0.1, 1.0, float("nan")])
def test_how_long_is_a_moment(limit_s: float) -> None:
    with pytest.raises(ValueError, match=r"busy_poll_s is 0 \(never\) to 0.01 seconds, not"):
        connect("amqp://127.0.0.1:1", busy_poll_s=limit_s)
