"""A Dramatiq application. Nothing in it knows Leveret. BROKER_URL and ACTOR_QUEUE configure it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.apps.journal import note

QUEUE = os.environ["ACTOR_QUEUE"]
dramatiq.set_broker(RabbitmqBroker(url=os.environ["BROKER_URL"], confirm_delivery=True, max_priority=10))


@dramatiq.actor(queue_name=QUEUE)
def run(journal: str, number: int) -> None:
    note(journal, "run", number=number)


@dramatiq.actor(queue_name=QUEUE, max_retries=3, min_backoff=100, max_backoff=400)
def fail(journal: str, failures: int) -> None:
    """Fail so many times, then succeed."""
    note(journal, "tried")
    if Path(journal).read_text().count('"tried"') <= failures:
        raise RuntimeError("not yet")
    note(journal, "succeeded")


@dramatiq.actor(queue_name=QUEUE, time_limit=600_000)
def long_job(journal: str, finish: str) -> None:
    note(journal, "started")
    while not Path(finish).exists():
        time.sleep(0.02)
    note(journal, "finished")
