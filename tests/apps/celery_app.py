"""A Celery application with the settings that people give it on RabbitMQ. Nothing in it knows Leveret.

BROKER_URL, TASK_QUEUE and QUEUE_KIND (`classic` or `quorum`) configure it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.pyamqp import Transport


class GlobalQosTransport(Transport):
    """Counts prefetched messages by channel, which kombu does with RabbitMQ 3 alone if nobody tells it to."""

    def qos_semantics_matches_spec(self, connection: Any) -> bool:
        return False


TRANSPORT_ALIASES["amqp-global-qos"] = f"{__name__}:GlobalQosTransport"


def settings(queue: str, kind: str) -> dict[str, Any]:
    common = {
        "task_default_queue": queue,
        "task_default_exchange": queue,
        "task_default_routing_key": queue,
        # a task is acknowledged when it is done, and goes back when the process that had it is gone
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        "worker_send_task_events": True,
        "result_expires": 60,
    }
    if kind == "quorum":
        return common | {
            "task_default_queue_type": "quorum",
            "task_default_exchange_type": "topic",  # native delayed delivery asks for one
            "worker_detect_quorum_queues": True,
            "broker_native_delayed_delivery_queue_type": "quorum",
            "broker_transport_options": {"confirm_publish": True},
        }
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.dead"}
    return common | {
        "task_queues": [
            Queue(queue, Exchange(queue), routing_key=queue, queue_arguments={"x-max-priority": 10, **dead})
        ],
        "task_default_priority": 5,
    }


app = Celery("apps", broker=os.environ.get("BROKER_URL"), backend="rpc://")
app.conf.update(settings(os.environ.get("TASK_QUEUE", "celery"), os.environ.get("QUEUE_KIND", "classic")))


@app.task(name="apps.add")
def add(left: int, right: int) -> int:
    return left + right


@app.task(name="apps.when")
def when() -> float:
    """The time of day at which the task ran."""
    return time.time()


@app.task(bind=True, max_retries=5, name="apps.flaky")
def flaky(self: Task, failures: int, countdown_s: float) -> int:
    """Fail `failures` times, then tell how often it was tried again."""
    retries: int = self.request.retries
    if retries < failures:
        raise self.retry(exc=RuntimeError(f"try {retries}"), countdown=countdown_s)
    return retries


@app.task(name="apps.refuse")
def refuse() -> None:
    """Ask the broker to dead-letter this task."""
    raise Reject("not for me", requeue=False)


@app.task(bind=True, name="apps.die_once")
def die_once(self: Task, folder: str) -> bool:
    """Kill the process that runs this, the first time. Returns whether the broker had delivered it before."""
    mark = Path(folder) / self.request.id
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return bool(self.request.delivery_info["redelivered"])


@app.task(bind=True, name="apps.long_job")
def long_job(self: Task, folder: str) -> tuple[int, bool]:
    """Leave a file named `started-PID` in `folder`, then work until there is one called `finish`.

    Returns the process id and whether the broker had delivered the task before.
    """
    (Path(folder) / f"started-{os.getpid()}").touch()
    while not (Path(folder) / "finish").exists():
        time.sleep(0.02)
    return os.getpid(), bool(self.request.delivery_info["redelivered"])
