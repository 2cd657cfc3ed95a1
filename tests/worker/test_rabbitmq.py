"""Workers on a real RabbitMQ: what they do instead of what only Leveret has, and what they refuse.

RABBITMQ_URLS names nodes (with a space between them); Debian's is started where it is installed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import leveret
from leveret.client import Client
from leveret.client.engine.message import Message
from leveret.client.topology import Retry
from leveret.errors import RetryLater, Unsupported
from leveret.worker import App, Running

from ..client.matrix.brokers import RABBITMQ
from ..compat.waiting import eventually_async
from ..differential.brokers import RabbitMQ
from .inside import dead_letters

VARIABLE: Final = "RABBITMQ_URLS"
NODES: Final = [*(["debian"] if RABBITMQ.exists() else []), *os.environ.get(VARIABLE, "").split()]
DEADLINE_S: Final = 30.0

pytestmark = pytest.mark.skipif(not NODES, reason=f"no RabbitMQ is installed, and {VARIABLE} names none")


@pytest.fixture(scope="module", params=NODES or [""])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "debian":
        yield request.param
        return
    with tempfile.TemporaryDirectory(prefix="leveret-rabbitmq-", ignore_cleanup_errors=True) as folder:
        node = RabbitMQ(Path(folder) / "node")
        try:
            yield node.start().url
        finally:
            node.stop()


def run_app(app: App, url: str, body: Callable[[Client, Running], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with leveret.connect(url) as client:
            try:
                async with app.running(client) as running:
                    await body(client, running)
            finally:
                for one in app.handlers:
                    for queue in (one.queue.name, one.dead_letter, f"leveret.delay.100.{one.queue.name}"):
                        if queue:
                            await client.delete_queue(queue)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def name(what: str) -> str:
    return f"worker-{os.getpid()}-{what}"


def test_retries_are_counted_and_the_last_is_dead(url: str) -> None:
    app = App()
    queue = name("retries")
    attempts: list[int] = []

    @app.consumer(queue, retry=Retry(max=2, backoff="fixed", delay_s=0.1))
    async def handler(body: str, message: Message) -> None:
        attempts.append(message.attempts)
        raise ValueError("broken")

    async def body(client: Client, running: Running) -> None:
        await client.publish(queue, "x", headers={"mine": 1})
        (dead,) = await dead_letters(client, f"{queue}.dead")
        assert attempts == [1, 2, 3]
        assert dead.body == b"x"
        assert dead.headers["x-attempts"] == 3
        assert dead.headers["x-exception"] == "broken"
        assert dead.headers["x-failed-queue"] == queue
        assert dead.headers["mine"] == 1
        counts = running.counts[queue]
        assert (counts.retried, counts.dead) == (2, 1)

    run_app(app, url, body)


def test_poison_and_retry_later_and_answers(url: str) -> None:
    app = App()
    queue = name("mixed")
    attempts: list[int] = []

    @app.consumer(queue, retry=Retry(max=3, backoff="fixed", delay_s=0.1))
    async def handler(number: int, message: Message) -> int:
        attempts.append(message.attempts)
        if number == 5 and message.attempts == 1:
            raise RetryLater(delay_s=0.1)
        return 2 * number

    async def body(client: Client, running: Running) -> None:
        assert (await client.call(queue, 4)).data == 8
        await client.publish(queue, {"no": "number"})
        (dead,) = await dead_letters(client, f"{queue}.dead")
        assert "expected int" in dead.headers["x-exception"]
        await client.publish(queue, 5)
        await eventually_async(lambda: running.counts[queue].done == 2, "tried again")
        assert attempts == [1, 1, 2]

    run_app(app, url, body)


def test_tasks(url: str) -> None:
    app = App()
    queue = name("tasks")

    @app.task(queue=queue)
    def add(left: int, right: int) -> int:
        return left + right

    async def body(client: Client, running: Running) -> None:
        assert await add.call(1, 2) == 3
        add.post_at(0.1, 3, 4)
        await eventually_async(lambda: running.counts[queue].done == 2, "done later")

    run_app(app, url, body)


def test_runs_by_the_clock(url: str) -> None:
    app = App(name=f"worker-{os.getpid()}")
    queue = name("cron")
    seen: list[str] = []

    @app.cron(queue, schedule=0.2)
    async def digest(line: str) -> None:
        seen.append(line)

    async def body(client: Client, running: Running) -> None:
        try:
            await client.publish(queue, "one")
            await eventually_async(lambda: seen == ["one"], "a run")
            await client.publish(queue, "two")
            await eventually_async(lambda: seen == ["one", "two"], "another")
        finally:
            await running.stop()
            await client.delete_queue(running.crons[0].token_queue)

    run_app(app, url, body)


@pytest.mark.parametrize("options", [{"group_by": "customer"}])
def test_groups_are_refused(url: str, options: dict[str, Any]) -> None:
    app = App()

    @app.consumer(name("groups"), **options)
    async def handler(body: bytes) -> None: ...

    async def body(client: Client, running: Running) -> None: ...

    with pytest.raises(Unsupported, match=r"the message groups of queue .* RabbitMQ"):
        run_app(app, url, body)


def test_unique_tasks_are_refused(url: str) -> None:
    app = App()

    @app.task(queue=name("unique"), unique="refuse")
    async def handler() -> None: ...

    async def body(client: Client, running: Running) -> None: ...

    with pytest.raises(Unsupported, match=r"the unique messages of queue .* RabbitMQ"):
        run_app(app, url, body)
