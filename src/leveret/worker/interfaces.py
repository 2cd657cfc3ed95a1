"""What the parts of the worker expect of one another: pools, resources, middleware, schedules, clocks, and the client.

Knows no implementation. `app` and `consumer` are written against these; `pools`, `process_pool`, `resources`,
`middleware` and `schedule` fulfil them, and so do the fakes of the tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

POOLS = ("async", "thread", "process")


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A declared handler, as middleware is told of it."""

    name: str  # of the handler: a task's name, or the function's
    queue: str
    kind: str  # consumer, subscriber, task, cron
    pool: str  # async, thread, process
    timeout_s: float | None
    max_attempts: int  # 1: no retries


@dataclass(slots=True)
class Job:
    """One message on its way through a handler. `state` is middleware's own scratch space."""

    consumer: ConsumerInfo
    message: Any  # leveret.Message
    state: dict[str, Any] = field(default_factory=dict)


# What becomes of a job: "done" (acked), "retried" (failed, will be tried again), "dead" (failed for the last time),
# "rejected" (by leveret.Reject, or arguments that do not fit), "released" (back to the queue, not counted)
OUTCOMES = ("done", "retried", "dead", "rejected", "released")


class MiddlewareHooks(Protocol):
    """`middleware.Middleware` is a class with these as hooks that do nothing, for users to inherit from.

    Only overridden hooks are called (compared with the base class's once, at start), so an absent one is free.
    `options` are the keyword arguments of `@app.consumer` and the like that this middleware understands, with the
    type each is converted to (by msgspec; what does not fit fails at import, naming option and handler); the app
    raises ConfigError for a keyword that neither it nor any middleware declares, with the nearest name as a hint.
    """

    @property
    def options(self) -> Mapping[str, Any]:
        """Name -> type, such as {"rate_limit": str | None}; a class attribute will do."""

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        """At import: a handler and those of its options that are ours, converted. Raises ConfigError."""

    async def started(self, app: Any) -> None:
        """In each worker process, before anything is consumed."""

    async def stopped(self) -> None:
        """After the last job."""

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        """Runs the job by `await handle()`, or does not, and returns its result. Errors pass through.

        Raising leveret.RetryLater or leveret.Reject decides what becomes of the message. With pools, this runs on
        the loop, `handle()` in the pool.
        """

    def received(self, job: Job) -> None:
        """A message was taken from the queue (on the loop; may not block)."""

    def finished(self, job: Job, outcome: str, error: BaseException | None, seconds_s: float) -> None:
        """What became of a job, one of OUTCOMES, and how long it took."""


class LostJob(Exception):
    """A pool could not finish a job: its process died (or had too much memory), or the pool was closed.

    `started` tells whether the handler may have begun. A job that had not is not reported, but run elsewhere, unless
    the pool closes.
    """

    def __init__(self, text: str, started: bool = True) -> None:
        super().__init__(text)
        self.started = started


class JobTimeout(Exception):
    """A job took longer than its time limit. Its thread was abandoned (cannot be killed), its process killed."""


Done = Callable[[Any, BaseException | None], None]


class Pool(Protocol):
    """Runs jobs elsewhere than on the loop. All methods are called on the loop, and so is `on_done`.

    pools.ThreadPool(function: Callable[[Any], Any], workers: int, *, timeout_s: float | None, name: str)
        function(job) in a thread; its result or exception goes to on_done. JobTimeout: the thread is abandoned, a
        new one takes its place, what it returns later is dropped.
    process_pool.ProcessPool(target: Target, workers: int, *, timeout_s, recycle_after: int | None,
                             memory_limit_bytes: int | None, name: str)
        In each child: `run = target.load(); run.open(); run(job) ...; run.close()`. Jobs and results are tuples of
        None, bool, int, float, str, bytes, lists and dicts of these (what marshal can), sent in batches. `run(job)`
        never raises; a result that a child could not send is LostJob. Time limits count from when a job begins.
    """

    async def open(self) -> None: ...

    @property
    def wanted(self) -> int:
        """How many jobs are worth having in it."""

    def submit(self, job: Any, on_done: Done) -> None:
        """Queues without limit: the caller bounds what is in it (by its prefetch)."""

    def drop_waiting(self) -> None:
        """Tell on_done of what did not begin that it is LostJob, not `started`. What runs goes on."""

    async def close(self, grace_s: float) -> None:
        """Let what runs finish within `grace_s`, then abandon or kill it; on_done is told LostJob of each then."""


class ChildRunner(Protocol):
    """What a process of the pool runs, in the child."""

    def open(self) -> None: ...
    def __call__(self, job: Any) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Picklable: where a child of the process pool finds its handler. `load` is `leveret.worker.inside.load`."""

    module: str
    qualname: str

    def load(self) -> ChildRunner:
        from leveret.worker.inside import load  # in the child, which has the application to import

        return load(self.module, self.qualname)


class ResourcesLike(Protocol):
    """resources.Resources(): what handlers get by the name of a parameter.

    A factory is a function, coroutine function, generator, async generator, or (async) context manager function;
    its parameters are resources by name in turn (a cycle or an unknown name: ConfigError). Scope "worker": made once
    a process, at open, closed in reverse order; scope "job": made for each job (as a database session is).
    """

    def add(self, factory: Callable[..., Any], name: str | None = None, scope: str = "worker") -> None: ...
    def __contains__(self, name: str) -> bool: ...
    def names(self) -> Sequence[str]: ...
    def scope_of(self, name: str) -> str: ...
    async def open(self, names: Iterable[str] | None = None) -> None:
        """Make those of scope "worker" that are asked for (None: all), and what they need."""

    def get(self, name: str) -> Any:
        """One of scope "worker" that is open."""

    def for_job(self, names: Iterable[str]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Those of both scopes by name; closed when the context ends, with its exception thrown into generators."""

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time for cron; tests move it. Seconds since the epoch."""

    def now_s(self) -> float: ...
    async def wait_s(self, seconds_s: float) -> None:
        """Wait until `now_s` is so much later, or has been moved."""
