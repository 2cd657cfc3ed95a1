"""A small Celery application. Nothing in it knows Leveret: it would run the same on RabbitMQ.

Start a broker, a worker and ask for work, each in a terminal of its own:

    leveret serve
    celery --workdir examples/celery_app -A tasks worker --pool solo
    cd examples/celery_app && python -c 'from tasks import add; print(add.delay(2, 3).get(timeout=10))'

Results come back over `rpc://`: a queue of the caller's own on the same broker.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, Task

app = Celery(
    "tasks", broker=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F"), backend="rpc://"
)
app.conf.update(
    task_default_queue=os.environ.get("TASK_QUEUE", "celery"),
    # a task is acknowledged when it is done, so that another worker gets it when this one dies
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    result_expires=None,
    broker_connection_retry_on_startup=True,
)


class NotYet(Exception):
    """What `flaky` fails with."""


@app.task
def add(left: int, right: int) -> int:
    return left + right


@app.task
def divide(left: int, right: int) -> float:
    return left / right


@app.task(bind=True, max_retries=5)
def flaky(self: Task, failures: int) -> int:
    """Fail `failures` times, then tell how often it was tried again."""
    retries: int = self.request.retries
    if retries < failures:
        raise self.retry(exc=NotYet(f"try {retries}"), countdown=0.1)
    return retries


@app.task(bind=True)
def long_job(self: Task, folder: str) -> tuple[int, bool]:
    """Leave a file named by this worker's process in `folder`, then work until there is one called `finish`.

    Returns the process id and whether the broker had delivered the task before.
    """
    (Path(folder) / f"started-{os.getpid()}").touch()
    while not (Path(folder) / "finish").exists():
        time.sleep(0.02)
    return os.getpid(), bool(self.request.delivery_info["redelivered"])
