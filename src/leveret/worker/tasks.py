"""What decorators give back: handlers, which are still functions, and tasks, which can be posted besides.

Knows how a call becomes a message. Who connects, and where handlers run, is known to `app` and `running`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from leveret.client.targets import Options
from leveret.errors import ConfigError, NotConfirmed
from leveret.worker.arguments import JSON
from leveret.worker.declared import Declared
from leveret.worker.interfaces import ChildRunner

if TYPE_CHECKING:
    from leveret.worker.app import App

P = ParamSpec("P")
R = TypeVar("R")

_OWN: Final = ("type", "content_type", "serializer", "group", "reply_to", "correlation_id")
# What other libraries call it.
ELSEWHERE: Final = {
    "delay": "post(...)",
    "send": "post(...)",
    "apply_async": "post(...), post_at(when, ...) or options(...).post(...)",
    "send_with_options": "options(...).post(...)",
    "kiq": "post(...)",
    "apply": "call(...), which waits for the result",
    "retry": "raise leveret.RetryLater(delay_s=...)",
}
OPTIONS: Final = (*(name for name in Options.__annotations__ if name not in _OWN), "timeout_s")


class Handler(Generic[P, R]):
    """A declared handler. Called, it is the function that it was."""

    def __init__(self, app: App, declared: Declared, function: Callable[P, R]) -> None:
        self.app = app
        self.declared = declared
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.declared.kind} {self.declared.name} of queue {self.declared.queue.name!r}>"

    def child_runner(self) -> ChildRunner:
        """What runs it in a process of a pool."""
        from leveret.worker.inside import InsideRunner  # in the child alone

        made: ChildRunner = InsideRunner(self.declared, self.app.resources)
        return made


class Task(Handler[P, R]):
    """A handler whose calls are posted: `await resize.call(...)`, `resize.post(...)`.

    Arguments are checked against the type hints before anything leaves: TypeError for those that do not fit the
    signature, InvalidMessage, naming the field, for those that do not fit their types. The app has to be connected
    (`async with app:`, or in a worker); else Closed is raised.
    """

    def __init__(
        self, app: App, declared: Declared, function: Callable[P, R], options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(app, declared, function)
        self._options: dict[str, Any] = dict(options or {})
        self._timeout_s: float | None = self._options.pop("timeout_s", None)

    if not TYPE_CHECKING:  # a checker shall go on finding what is misspelt

        def __getattr__(self, name):
            meant = ELSEWHERE.get(name)
            if meant is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(f"a task has no {name!r}; here it is {meant}")

    @property
    def name(self) -> str:
        return self.declared.name

    def options(self, **options: Any) -> Task[P, R]:
        """The same task, posted with these options of `Client.post`: `resize.options(priority=5).post(...)`."""
        for name in options:
            if name not in OPTIONS:
                raise TypeError(f"{name!r} is no option of a posted task; {', '.join(OPTIONS)} are")
        merged = {**self._options, "timeout_s": self._timeout_s, **options}
        return Task(self.app, self.declared, self.function, merged)

    def post(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[None]:
        """Have it done later. Returns at once; need not be awaited (awaiting it waits for room in the buffer).

        In a thread of the worker it returns when there is room, and is not to be awaited.
        """
        return self.app.post(self._to, self.body(args, kwargs), self.sending(args, kwargs))

    def post_at(
        self, when: datetime | timedelta | float, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[None]:
        """As `post`, but not before `when`: a time (local if it names no zone), or so long from now (a number: seconds)."""
        sending = self.sending(args, kwargs)
        sending.update(due(when))
        return self.app.post(self._to, self.body(args, kwargs), sending)

    async def post_unique(self, key: str, *args: P.args, **kwargs: P.kwargs) -> bool:
        """As `post`, unless a task with this key waits. Whether the broker took it, which is awaited.

        The task needs `unique="refuse"` (what waits stays) or `unique="replace"` (this takes its place, and True is
        returned). Raises Unsupported if the broker is not Leveret's.
        """
        if self.declared.queue.unique is None:
            raise ConfigError(
                f"{self.declared.where}: post_unique needs @app.task(unique='refuse') or unique='replace', which the"
                " queue is declared with"
            )
        sending = self.sending(args, kwargs)
        sending["unique"] = key
        try:
            await _done(
                self.app.client.publish(
                    self._to, self.body(args, kwargs), timeout_s=self._timeout_s, **sending
                )
            )
        except NotConfirmed:
            return False
        return True

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Have it done, and await its result, as a value of the type that the function returns.

        Waits for 30 seconds, or `resize.options(timeout_s=...)`. Raises CallTimeout, CallFailed.
        """
        sending = self.calling(args, kwargs)
        return self.result_of(await _done(self.app.client.call(self._to, self.body(args, kwargs), **sending)))

    # ---- for others of this package

    @property
    def _to(self) -> str:
        return self.declared.queue.name

    def body(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        return self.declared.arguments.encode(args, kwargs)

    def sending(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The options that it is sent with."""
        options: dict[str, Any] = {**self._options, "type": self.declared.name, "content_type": JSON}
        group_by = self.declared.group_by
        if isinstance(group_by, str):
            options["group"] = str(self.declared.arguments.value_of(group_by, args, kwargs))
        return options

    def calling(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The options that it is called with."""
        options = self.sending(args, kwargs)
        if self._timeout_s is not None:
            options["timeout_s"] = self._timeout_s
        return options

    def result_of(self, reply: Any) -> Any:
        returns = self.declared.arguments.returns
        if returns is None or returns is type(None):
            return None
        return reply.data if returns is Any else reply.decode(returns)


async def _done(result: Any) -> Any:
    """Of a client's method. In a thread of a handler, under a loop of its own, it is done already."""
    return await result if inspect.isawaitable(result) else result


def due(when: datetime | timedelta | float) -> dict[str, Any]:
    """As an option of `Client.post`."""
    if isinstance(when, datetime):
        return {"at": when.astimezone(UTC)}
    seconds_s = when.total_seconds() if isinstance(when, timedelta) else float(when)
    if seconds_s < 0:
        raise ValueError(f"{when!r}: a time from now cannot be negative")
    return {"delay_s": seconds_s}


class SyncTasks:
    """Posts tasks from code without a loop. Made by `app.sync()`, a context manager; has a connection of its own."""

    def __init__(self, client: Any) -> None:
        self.client = client  # a leveret.connect_sync(...)

    def post(self, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> None:
        """As `task.post`."""
        self.client.post(task.declared.queue.name, task.body(args, kwargs), **task.sending(args, kwargs))

    def post_at(
        self, when: datetime | timedelta | float, task: Task[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """As `task.post_at`."""
        sending = {**task.sending(args, kwargs), **due(when)}
        self.client.post(task.declared.queue.name, task.body(args, kwargs), **sending)

    def call(self, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> Any:
        """As `task.call`."""
        sending = task.calling(args, kwargs)
        return task.result_of(self.client.call(task.declared.queue.name, task.body(args, kwargs), **sending))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the broker has all that was posted. Raises TimeoutError."""
        self.client.flush(timeout_s)

    def __enter__(self) -> SyncTasks:
        self.client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.client.__exit__(*error)
