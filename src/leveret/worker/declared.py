"""What a decorator says of a handler: its settings, checked at import. Knows no broker and runs nothing."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypedDict

from leveret.client.topology import Queue, Retry
from leveret.errors import ConfigError
from leveret.worker.arguments import Arguments
from leveret.worker.interfaces import POOLS, ConsumerInfo
from leveret.worker.schedule import Schedule

ASYNC_CONCURRENCY: Final = 100
THREADS: Final = 8
FIRST_PREFETCH: Final = 16
MOST_CONCURRENCY: Final = 65_535  # the largest prefetch
DEFAULT_RETRY: Final = Retry()


class Unset:
    """An option that was not given."""


UNSET: Final = Unset()


class Settings(TypedDict, total=False):
    """Options that every kind of handler has.

    concurrency: how many messages are in work at once in a process (or processes, of the process pool).
    pool: async (a coroutine function), thread (blocking code), process (code that computes).
    retry: a Retry, or None for none. timeout_s: longer work is a failure; an async handler is cancelled, a thread is
    left to itself (it cannot be ended), a process is killed. group_by: messages of one group are worked on one at a
    time, in order. prefetch: how many messages are here at once; "auto" follows how fast they are worked through.
    queue: how the queue is to be declared.
    recycle_after: jobs after which a process of the pool is replaced. memory_limit_bytes: above it, too.
    """

    concurrency: int
    pool: str
    retry: Retry | None
    timeout_s: float | None
    group_by: str | bool | None
    prefetch: int | str
    recycle_after: int | None
    memory_limit_bytes: int | None


SETTINGS: Final = tuple(Settings.__annotations__)


@dataclass(frozen=True)
class Timing:
    """Of a handler that runs by the clock."""

    schedule: Schedule
    limit: int | None
    overlap: bool
    catch_up: bool


@dataclass(frozen=True)
class Topic:
    """What a subscriber subscribes to. `ephemeral`: its queue goes with its connection."""

    pattern: str
    exchange: str
    ephemeral: bool


@dataclass
class Declared:
    """A handler as it was declared. `dead_letter`: the queue for what failed for the last time, None for none."""

    kind: str
    name: str
    function: Callable[..., Any]
    arguments: Arguments
    queue: Queue
    pool: str
    concurrency: int
    prefetch: int | str
    timeout_s: float | None
    retry: Retry | None
    dead_letter: str | None
    group_by: str | bool | None = None
    recycle_after: int | None = None
    memory_limit_bytes: int | None = None
    base: Queue = field(default_factory=Queue)  # the queue, before what its handlers ask of it
    given: Mapping[str, Any] = field(default_factory=dict)  # the settings, as they were given
    options: Mapping[str, Any] = field(default_factory=dict)
    timing: Timing | None = None
    topic: Topic | None = None

    @property
    def first_prefetch(self) -> int:
        """What "auto" begins with: not more than is worked on at once, so that others have something, too."""
        return 2 * self.concurrency if self.pool == "process" else min(self.concurrency, FIRST_PREFETCH)

    @property
    def where(self) -> str:
        return self.arguments.where

    @property
    def info(self) -> ConsumerInfo:
        most = 1 if self.retry is None else self.retry.max + 1
        return ConsumerInfo(self.name, self.queue.name, self.kind, self.pool, self.timeout_s, most)


def where_of(function: Callable[..., Any]) -> str:
    """How a handler is called in errors."""
    return f"{function.__module__}.{function.__qualname__}"


def is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)


def check_function(function: Any, decorator: str) -> None:
    """Raises ConfigError for what is no function, as when the decorator was used without its parentheses."""
    if not inspect.isroutine(function) and not callable(function):
        raise ConfigError(
            f"@app.{decorator} got {function!r} to decorate, which is no function; is its ( ) missing?"
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigError(f"{where_of(function)} is a generator; a handler returns its result")


def checked_pool(where: str, function: Callable[..., Any], given: str | Unset) -> str:
    """The pool; by default async for a coroutine function, thread for another. Raises ConfigError."""
    if isinstance(given, Unset):
        return "async" if is_async(function) else "thread"
    if given not in POOLS:
        near = difflib.get_close_matches(str(given), POOLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{where}: pool is 'async', 'thread' or 'process', not {given!r}{hint}")
    if given == "async" and not is_async(function):
        raise ConfigError(
            f"{where} is not `async def`, and pool='async' would have it block the connection: leave pool out, or say"
            " pool='thread' (blocking code) or pool='process' (code that computes)"
        )
    if given != "async" and is_async(function):
        raise ConfigError(
            f"{where} is `async def`, which runs on the loop: leave pool out, or make it a plain `def` for"
            f" pool={given!r}"
        )
    return given


def checked_concurrency(where: str, pool: str, given: int | Unset) -> int:
    if isinstance(given, Unset):
        return {"async": ASYNC_CONCURRENCY, "thread": THREADS}.get(pool) or os.cpu_count() or 1
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MOST_CONCURRENCY:
        raise ConfigError(f"{where}: concurrency is a number from 1 to {MOST_CONCURRENCY}, not {given!r}")
    return given


def checked_prefetch(where: str, given: Any) -> int | str:
    if isinstance(given, Unset):
        return "auto"
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 65_535):
        checked: int | str = given
        return checked
    raise ConfigError(f"{where}: prefetch is 'auto' or a number from 1 to 65535, not {given!r}")


def checked_seconds(where: str, name: str, given: Any) -> float | None:
    if given is None or isinstance(given, Unset):
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not given > 0:
        raise ConfigError(f"{where}: {name} is a number of seconds above 0, not {given!r}")
    return float(given)


def checked_retry(where: str, given: Any, queue: Queue) -> Retry | None:
    """The policy of a handler and of its queue, which must be one. Raises ConfigError."""
    if isinstance(given, Unset):
        return queue.retry if queue.retry is not None else DEFAULT_RETRY
    if given is not None and not isinstance(given, Retry):
        hint = f": write retry=Retry(max={given})" if type(given) is int else ""
        raise ConfigError(f"{where}: retry is a leveret.Retry(...) or None, not {given!r}{hint}")
    if queue.retry is not None and given != queue.retry:
        raise ConfigError(f"{where}: retry and queue=Queue(retry=...) differ; give one of them")
    checked: Retry | None = given
    return checked


def dead_letter_of(queue: Queue, retry: Retry | None) -> str | None:
    """Where what failed for the last time goes: what the queue says, else what the policy says, else `QUEUE.dead`."""
    if queue.dead_letter is not None:
        return queue.dead_letter
    wanted = True if retry is None else retry.dead_letter
    if wanted is True:
        return f"{queue.name}.dead"
    return wanted or None


def complete(one: Declared) -> None:
    """Give it its retries, and the queue all that the handler asks of it. Raises ConfigError."""
    one.retry = checked_retry(one.where, one.given.get("retry", UNSET), one.base)
    one.dead_letter = dead_letter_of(one.base, one.retry) if one.base.name else None
    groups = one.base.groups
    if one.group_by:  # of a task: what is posted names its group in x-group-id
        groups = True if one.kind == "task" else one.group_by
    one.queue = replace(one.base, retry=one.retry, dead_letter=one.dead_letter, groups=groups)


def share(tasks: list[Declared]) -> None:
    """Tasks of one queue have its settings together: what one of them gives counts for all. Raises ConfigError."""
    last = tasks[-1]
    for name in ("concurrency", "prefetch", "retry"):
        giving = [one for one in tasks if name in one.given]
        for one in giving:
            if one.given[name] != last.given.get(name, one.given[name]):
                raise _differ(last, one, name)
        if giving:
            for one in tasks:
                one.given = {**one.given, name: giving[0].given[name]}
    bases = [one.base for one in tasks if one.base != Queue(one.base.name)]
    for base in bases:
        if base != bases[-1] and replace(base, unique=bases[-1].unique) != replace(bases[-1]):
            raise _differ(last, tasks[0], "queue")
    unique = {one.base.unique for one in tasks} - {None}
    if len(unique) > 1:
        raise _differ(last, tasks[0], "unique")
    grouped = any(one.group_by or one.base.groups for one in tasks)
    for one in tasks:
        one.base = replace(bases[-1] if bases else one.base, unique=next(iter(unique), None))
        one.base = replace(one.base, groups=one.base.groups or grouped)
        one.concurrency = one.given.get("concurrency", one.concurrency)
        one.prefetch = one.given.get("prefetch", one.prefetch)
        complete(one)


def _differ(one: Declared, other: Declared, what: str) -> ConfigError:
    return ConfigError(
        f"{one.where}: {what} is another than that of {other.where}, and both are tasks of queue {one.base.name!r}: make"
        " them equal, or give one of them a queue of its own"
    )
