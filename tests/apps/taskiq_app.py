"""A Taskiq application on taskiq-aio-pika. Nothing in it knows Leveret.

BROKER_URL, TASK_QUEUE and QUEUE_KIND configure it: `quorum`, `priorities`, `short` (at most three tasks wait)
or `plugin` (delays by an exchange of type x-delayed-message in place of a queue with a dead-letter exchange).
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from taskiq import SmartRetryMiddleware
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

from tests.apps.journal import note


def make_broker(url: str, name: str, kind: str) -> AioPikaBroker:
    queues = {
        "quorum": Queue(name=name),  # the default type
        "plugin": Queue(name=name),
        "priorities": Queue(name=name, type=QueueType.CLASSIC, max_priority=10),
        "short": Queue(name=name, type=QueueType.CLASSIC, arguments={"x-max-length": 3}),
    }
    broker = AioPikaBroker(
        url,
        qos=1,
        exchange=Exchange(name=name),
        task_queues=[queues[kind]],
        dead_letter_queue=Queue(name=f"{name}.dead"),
        delay_queue=None if kind == "plugin" else Queue(name=f"{name}.delay"),
        delayed_message_exchange_plugin=kind == "plugin",
    )
    return broker.with_middlewares(SmartRetryMiddleware(default_delay=0.3, default_retry_count=5))


def register(broker: AioPikaBroker) -> dict[str, Any]:
    """The tasks by name, on this broker."""

    @broker.task(task_name="run")
    async def run(journal: str, number: int) -> None:
        note(journal, "run", number=number)

    @broker.task(task_name="fail", retry_on_error=True)
    async def fail(journal: str, failures: int) -> None:
        note(journal, "tried")
        if Path(journal).read_text().count('"tried"') <= failures:
            raise RuntimeError("not yet")
        note(journal, "succeeded")

    @broker.task(task_name="long_job")
    async def long_job(journal: str, finish: str) -> None:
        note(journal, "started")
        while not Path(finish).exists():
            await asyncio.sleep(0.02)
        note(journal, "finished")

    return {"run": run, "fail": fail, "long_job": long_job}


if "TASK_QUEUE" in os.environ:
    broker = make_broker(os.environ["BROKER_URL"], os.environ["TASK_QUEUE"], os.environ["QUEUE_KIND"])
    register(broker)
