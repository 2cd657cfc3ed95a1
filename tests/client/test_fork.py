"""A process that forks: the client stays with the parent, says so in the child, and a child can have one of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

import leveret
from leveret.errors import Closed

from ..compat.broker import Address, running_broker
from .matrix.brokers import Side, side_of
from .matrix.harness import make_client, nothing_left, run


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with running_broker() as address:
        yield address


@pytest.fixture(scope="module")
def side(address: Address) -> Iterator[Side]:
    with side_of(address) as side:
        yield side


def in_a_child(work: Callable[[], bool]) -> bool:
    """Whether `work` is true there. The child ends without cleaning up, as those of multiprocessing do."""
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = work()
        finally:
            os._exit(0 if right else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def refuses(client: leveret.Client) -> bool:
    """Everything that a child could ask of its parent's client."""

    async def publish() -> None:
        await client.publish("queue", b"1")

    async def call() -> None:
        await client.call("queue", b"1")

    async def get() -> None:
        await client.get("queue")

    refused = 0
    try:
        client.post("queue", b"1")
    except Closed as error:
        refused += "forked" in str(error)
    for ask in (publish, call, get):
        try:
            asyncio.run(ask())
        except Closed as error:
            refused += "forked" in str(error)
    return refused == 4


def test_the_parent_goes_on_and_the_child_is_told(address: Address, side: Side) -> None:
    async def main() -> None:
        async with nothing_left(), make_client(address.url) as client:
            await client.declare_queue(leveret.Queue("fork"))
            async with client.consume("fork") as messages:
                await client.publish("fork", b"before")
                assert in_a_child(lambda: refuses(client))
                await client.publish("fork", b"after")
                stream = aiter(messages)
                for body in (b"before", b"after"):
                    message = await anext(stream)
                    assert message.body == body
                    message.ack()
            assert (client.stats.reconnects, client.stats.confirmed) == (0, 2)
            await client.delete_queue("fork")

    run(main())


def test_a_child_has_a_client_of_its_own(address: Address, side: Side) -> None:
    side.declare("fork-child")

    async def work() -> None:
        async with make_client(address.url) as own:
            await own.publish("fork-child", b"from the child")

    def child() -> bool:
        asyncio.run(work())
        return True

    async def main() -> None:
        async with nothing_left(), make_client(address.url) as client:
            assert in_a_child(child)
            message = await client.get("fork-child", timeout_s=5)
            assert message is not None and message.body == b"from the child"
            message.ack()

    run(main())
    side.delete("fork-child")
