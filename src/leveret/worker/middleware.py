"""What wraps every job: the base class of middleware, its chain, and the options that handlers may give to it.

A hook that is not overridden costs nothing: the chain has lists of those that are, made once. Knows nothing of
connections, pools or of what a hook does.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec

from leveret.errors import ConfigError
from leveret.worker.interfaces import ConsumerInfo, Job, MiddlewareHooks

Handle = Callable[[Job], Awaitable[Any]]


class Middleware:
    """To be inherited from; every hook does nothing, and `around` only goes on. See `docs/how-to/use-middleware.md`.

    `options`: keyword arguments of `@app.consumer` and the like that this middleware understands, by name, with the
    type that each is converted to.
    """

    options: ClassVar[Mapping[str, Any]] = {}

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        """At import: a handler was declared, with those of its options that are ours. Raises ConfigError."""

    async def started(self, app: Any) -> None:
        """In each worker process, before anything is consumed."""

    async def stopped(self) -> None:
        """In each worker process, after the last job."""

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        """Do the job by `await handle()`, or do not, and give its result.

        Errors pass through; `leveret.RetryLater` and `leveret.Reject` decide what becomes of the message.
        """
        return await handle()

    def received(self, job: Job) -> None:
        """A message was taken from the queue. On the loop: may not block."""

    def finished(self, job: Job, outcome: str, error: BaseException | None, seconds_s: float) -> None:
        """What became of a job (one of `interfaces.OUTCOMES`), and how long it took. On the loop: may not block."""


def overrides(middleware: MiddlewareHooks, hook: str) -> bool:
    """Whether a middleware does something at a hook."""
    own = getattr(type(middleware), hook, None)
    return own is not None and own is not getattr(Middleware, hook)


class Chain:
    """Middleware in order: the first is the outermost. Hooks are lists of bound methods, empty where nobody cares."""

    def __init__(self, middleware: Iterable[MiddlewareHooks] = ()) -> None:
        self.middleware: tuple[MiddlewareHooks, ...] = tuple(middleware)
        self.received = self._bound("received")
        self.finished = self._bound("finished")
        self.around = self._bound("around")

    def _bound(self, hook: str) -> tuple[Callable[..., Any], ...]:
        return tuple(getattr(one, hook) for one in self.middleware if overrides(one, hook))

    def compiled(self, handle: Handle) -> Handle:
        """`handle` with everything around it; `handle` itself if there is nothing."""
        for around in reversed(self.around):
            handle = _wrapped(around, handle)
        return handle

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        """Tell everyone of a handler; each gets the options that it declares. Raises ConfigError."""
        for one in self.middleware:
            mine = {name: value for name, value in options.items() if name in one.options}
            one.declared(consumer, mine)

    async def started(self, app: Any) -> None:
        """Call the hooks in order. If one fails, those that were started before it are stopped."""
        done: list[MiddlewareHooks] = []
        try:
            for one in self.middleware:
                await one.started(app)
                done.append(one)
        except BaseException:
            await _stop(done)
            raise

    async def stopped(self) -> None:
        """Call the hooks in reverse order, all of them; then raise what the first failing one raised."""
        await _stop(self.middleware)


async def _stop(middleware: Sequence[MiddlewareHooks]) -> None:
    failed: BaseException | None = None
    for one in reversed(middleware):
        try:
            await one.stopped()
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _wrapped(around: Callable[..., Awaitable[Any]], handle: Handle) -> Handle:
    def run(job: Job) -> Awaitable[Any]:
        return around(job, partial(handle, job))

    return run


def read_options(
    handler: str, given: Mapping[str, Any], middleware: Iterable[MiddlewareHooks], own: Iterable[str] = ()
) -> dict[str, Any]:
    """The options given to a handler, converted to the types that middleware declares.

    `own` are the names that the app itself takes, for hints only. Raises ConfigError for a name that nobody declares
    (with the nearest one that somebody does) and a value that does not fit.
    """
    types: dict[str, Any] = {}
    for one in middleware:
        types.update(one.options)
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in types:
            raise ConfigError(f"{handler}: {unknown(name, [*own, *types])}")
        try:
            found[name] = msgspec.convert(value, types[name])
        except (msgspec.ValidationError, TypeError) as error:
            raise ConfigError(f"{handler}: option {name}={value!r}: {error}") from None
    return found


def unknown(name: str, known: Sequence[str]) -> str:
    """What is said of an option that nobody knows."""
    if name in _ELSEWHERE:
        return f"there is no option {name!r}; here it is {_ELSEWHERE[name]}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"there is no option {name!r}: did you mean {near[0]!r}?"
    if name in _BUILT_IN:
        return f"the option {name!r} needs {_BUILT_IN[name]}, which is not in this app's middleware: add it there"
    return f"there is no option {name!r}; there are {', '.join(sorted(known))}"


_BUILT_IN = {
    "idempotent": "leveret.worker.Idempotency",
    "idempotency_key": "leveret.worker.Idempotency",
    "rate_limit": "leveret.worker.RateLimit",
    "rate_key": "leveret.worker.RateLimit",
    "rate_wait_s": "leveret.worker.RateLimit",
    "time_limit_s": "leveret.worker.TimeLimit",
    "max_age_s": "leveret.worker.TimeLimit",
}
# What other libraries call it, for who comes from there.
_ELSEWHERE = {
    "max_retries": "retry=Retry(max=...)",
    "retries": "retry=Retry(max=...)",
    "default_retry_delay": "retry=Retry(delay_s=...)",
    "retry_backoff": "retry=Retry(backoff='exponential')",
    "min_backoff": "retry=Retry(delay_s=...)",
    "max_backoff": "retry=Retry(max_delay_s=...)",
    "autoretry_for": "retry=Retry(...): every exception is tried again, but for leveret.Reject",
    "throws": "raise leveret.Reject(reason) for what no retry helps",
    "bind": "a parameter annotated leveret.Message",
    "timeout": "timeout_s=...",
    "time_limit": "timeout_s=...",
    "soft_time_limit": "timeout_s=...",
    "queue_name": "queue='...'",
    "threads": "concurrency=...",
    "workers": "concurrency=...",
    "prefetch_count": "prefetch=...",
    "prefetch_multiplier": "prefetch=...",
    "acks_late": "nothing: a message is acknowledged when its handler is done",
    "ignore_result": "nothing: a result is sent only to who asked by call(...)",
}
