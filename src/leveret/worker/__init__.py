"""Workers: handlers for queues, topics, tasks and schedules, and what runs them. See `App`.

Names are loaded when they are used: a process of a pool, or a producer, does not pay for all of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leveret.worker.app import App as App
    from leveret.worker.arguments import BadArguments as BadArguments
    from leveret.worker.cron import SystemClock as SystemClock
    from leveret.worker.failures import HandlerTimeout as HandlerTimeout
    from leveret.worker.idempotency import Idempotency as Idempotency
    from leveret.worker.idempotency import MemoryStore as MemoryStore
    from leveret.worker.idempotency import SQLiteStore as SQLiteStore
    from leveret.worker.idempotency import Store as Store
    from leveret.worker.interfaces import ConsumerInfo as ConsumerInfo
    from leveret.worker.interfaces import Job as Job
    from leveret.worker.metrics import Metrics as Metrics
    from leveret.worker.middleware import Middleware as Middleware
    from leveret.worker.ratelimit import RateLimit as RateLimit
    from leveret.worker.running import Running as Running
    from leveret.worker.schedule import Cron as Cron
    from leveret.worker.schedule import Every as Every
    from leveret.worker.tasks import Handler as Handler
    from leveret.worker.tasks import SyncTasks as SyncTasks
    from leveret.worker.tasks import Task as Task
    from leveret.worker.timelimits import TimeLimit as TimeLimit
    from leveret.worker.tracing import Tracing as Tracing

_WHERE = {
    "App": "app",
    "BadArguments": "arguments",
    "ConsumerInfo": "interfaces",
    "Cron": "schedule",
    "Every": "schedule",
    "Handler": "tasks",
    "HandlerTimeout": "failures",
    "Idempotency": "idempotency",
    "Job": "interfaces",
    "MemoryStore": "idempotency",
    "Metrics": "metrics",
    "Middleware": "middleware",
    "RateLimit": "ratelimit",
    "Running": "running",
    "SQLiteStore": "idempotency",
    "Store": "idempotency",
    "SyncTasks": "tasks",
    "SystemClock": "cron",
    "Task": "tasks",
    "TimeLimit": "timelimits",
    "Tracing": "tracing",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
