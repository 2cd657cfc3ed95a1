"""`App`: where an application says what it handles. Everything is checked when its module is imported.

Knows declarations; who runs them is `running`, which is imported when something runs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from leveret.client import serialize
from leveret.client.serialize import Serializers
from leveret.client.targets import TOPICS
from leveret.client.topology import Queue
from leveret.errors import Closed, ConfigError
from leveret.worker import declared as declaring
from leveret.worker.arguments import Arguments
from leveret.worker.declared import UNSET, Declared, Settings, Timing, Topic, where_of
from leveret.worker.interfaces import MiddlewareHooks
from leveret.worker.middleware import read_options
from leveret.worker.resources import Resources
from leveret.worker.schedule import Schedule, schedule_of
from leveret.worker.tasks import Handler, SyncTasks, Task
from leveret.worker.threaded import HERE, ThreadClient

if TYPE_CHECKING:
    from leveret.worker.running import Running

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class App:
    """Handlers, resources and middleware of one application.

    `urls` (or a `leveret.Broker`) and `options` are those of `leveret.connect`; without one it is $LEVERET_URL, then
    amqp://localhost. `serializer` is a `Serializers` for bodies and results. Middleware is given here or by
    `add_middleware`, before the handlers that use its options are declared. Mistakes in declarations raise ConfigError
    at once.
    """

    def __init__(
        self,
        *urls: Any,
        name: str = "app",
        middleware: Sequence[MiddlewareHooks] = (),
        serializer: Serializers | None = None,
        grace_s: float = 30.0,
        **options: Any,
    ) -> None:
        self.urls = urls
        self.name = name
        self.serializers = serialize.DEFAULT if serializer is None else serializer
        self.grace_s = grace_s
        self.connect_options: Mapping[str, Any] = options
        self.middleware: list[MiddlewareHooks] = []
        self.resources = Resources()
        self.handlers: list[Declared] = []
        self._client: Any = None
        self._own_client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the client, and its thread
        self._thread_id = 0
        for one in middleware:
            self.add_middleware(one)

    # ---- declaring

    def add_middleware(self, middleware: MiddlewareHooks) -> None:
        """The first is the outermost. Raises ConfigError for what is none."""
        if isinstance(middleware, type) or not hasattr(middleware, "options"):
            raise ConfigError(
                f"{middleware!r} is no middleware: give an instance of leveret.worker.Middleware"
            )
        self.middleware.append(middleware)
        for one in self.handlers:
            middleware.declared(one.info, {})

    @overload
    def resource(self, factory: F, /) -> F: ...

    @overload
    def resource(
        self, factory: None = None, /, *, name: str | None = None, scope: str = "worker"
    ) -> Callable[[F], F]: ...

    def resource(self, factory: F | None = None, /, *, name: str | None = None, scope: str = "worker") -> Any:
        """Decorates what makes a resource: `@app.resource`, `@app.resource(scope="job")`.

        A function, an (async) generator or a context manager; handlers get it by a parameter of its name. Scope worker:
        made once for each process and closed when it ends; job: for each message. Declare it before the handlers that
        take it.
        """

        def decorate(factory: F) -> F:
            self.resources.add(factory, name, scope)
            called = name or factory.__name__
            for one in self.handlers:
                if called in one.arguments.names:
                    raise ConfigError(
                        f"{one.where} has a parameter {called!r}, and was declared before the resource of that name:"
                        " declare resources first"
                    )
            return factory

        return decorate if factory is None else decorate(factory)

    def consumer(
        self,
        queue: str,
        /,
        *,
        name: str | None = None,
        **options: Any,
    ) -> Callable[[Callable[P, R]], Handler[P, R]]:
        """Decorates the handler of a queue's messages. Options: `Settings`, `queue=Queue(...)`, and those of middleware.

        What it returns is the reply to a message that has reply_to.
        """

        def decorate(function: Callable[P, R]) -> Handler[P, R]:
            made = self._declare("consumer", function, name, self._queue(queue, options), options)
            return Handler(self, made, function)

        return decorate

    def subscriber(
        self,
        pattern: str,
        /,
        *,
        name: str | None = None,
        exchange: str = TOPICS,
        **options: Any,
    ) -> Callable[[Callable[P, R]], Handler[P, R]]:
        """Decorates the handler of a topic's messages, such as "orders.*.created".

        `name` is its subscription: a durable queue, shared by all processes that subscribe by that name. Without one, each
        process gets every message, while it is connected. Options as of `consumer`.
        """

        def decorate(function: Callable[P, R]) -> Handler[P, R]:
            given = dict(options)
            if name is None and isinstance(given.get("retry", UNSET), declaring.Unset):
                given["retry"] = None
            spec = self._queue(name or "", given)
            topic = Topic(pattern, exchange, ephemeral=name is None)
            made = self._declare("subscriber", function, name, spec, given, topic=topic)
            return Handler(self, made, function)

        return decorate

    @overload
    def task(self, function: Callable[P, R], /, **options: Any) -> Task[P, R]: ...

    @overload
    def task(self, function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str | Queue = "tasks",
        unique: str | None = None,
        **options: Any,
    ) -> Any:
        """Makes a function a task: `resize.post(...)`, `await resize.call(...)`; called, it is the function.

        Tasks of one queue share its settings. `name` is what messages call it (by default as the function). `unique`
        ('refuse' or 'replace') allows `post_unique`. Options as of `consumer`; `group_by` names a parameter.
        """

        def decorate(function: Callable[P, R]) -> Task[P, R]:
            spec = queue if isinstance(queue, Queue) else Queue(queue)
            if unique is not None:
                if unique not in ("refuse", "replace"):
                    raise ConfigError(
                        f"{where_of(function)}: unique is 'refuse' or 'replace', not {unique!r}"
                    )
                spec = dataclasses.replace(spec, unique=unique)
            made = self._declare("task", function, name, spec, options)
            return Task(self, made, function)

        return decorate if function is None else decorate(function)

    def cron(
        self,
        queue: str,
        /,
        *,
        schedule: str | float | timedelta | Schedule,
        timezone: str | tzinfo | None = None,
        limit: int | None = None,
        overlap: bool = False,
        catch_up: bool = True,
        name: str | None = None,
        **options: Any,
    ) -> Callable[[Callable[P, R]], Handler[P, R]]:
        """Decorates the handler of a queue that is worked off by the clock: what is there, up to `limit`, then it ends.

        `schedule` is a cron expression (in `timezone`, by default UTC), or an interval in seconds. Of all workers of
        all hosts one runs it. Runs do not overlap unless `overlap`; one that was missed while no worker was there is
        made up for once, unless `catch_up` is False. Options as of `consumer`.
        """

        def decorate(function: Callable[P, R]) -> Handler[P, R]:
            if limit is not None and (isinstance(limit, bool) or limit < 1):
                raise ConfigError(
                    f"{where_of(function)}: limit is a number of messages above 0, not {limit!r}"
                )
            try:
                timing = Timing(schedule_of(schedule, timezone), limit, overlap, catch_up)
            except Exception as error:
                raise ConfigError(f"{where_of(function)}: {error}") from None
            made = self._declare("cron", function, name, self._queue(queue, options), options, timing=timing)
            return Handler(self, made, function)

        return decorate

    def _queue(self, name: str, options: dict[str, Any]) -> Queue:
        """The queue of that name; as `queue=Queue(...)` among the options describes it."""
        given = options.get("queue")
        if given is None:
            return Queue(name)
        if not isinstance(given, Queue):
            raise ConfigError(f"queue is a leveret.Queue(...), not {given!r}; the name is the first argument")
        if given.name and given.name != name:
            raise ConfigError(f"the handler is of queue {name!r}, and queue=Queue({given.name!r}) of another")
        return given.named(name)

    def _declare(
        self,
        kind: str,
        function: Callable[..., Any],
        name: str | None,
        queue: Queue,
        options: Mapping[str, Any],
        *,
        timing: Timing | None = None,
        topic: Topic | None = None,
    ) -> Declared:
        declaring.check_function(function, kind)
        where = where_of(function)
        local_names = sys._getframe(2).f_locals  # of where the handler is, for types that are there
        settings: Any = {key: options[key] for key in declaring.SETTINGS if key in options}
        others = {key: value for key, value in options.items() if key not in settings and key != "queue"}
        known = (*declaring.SETTINGS, "queue", "name", *_OWN_OPTIONS[kind])
        for_middleware = read_options(where, others, self.middleware, known)
        arguments = Arguments(
            function, where, self.resources,
            task=kind == "task", serializers=self.serializers, local_names=local_names,
        )  # fmt: skip
        made = _made(kind, name or _name_of(function), function, arguments, queue, settings)
        made.options, made.timing, made.topic = for_middleware, timing, topic
        self._check_others(made)
        for one in self.middleware:
            one.declared(
                made.info, {key: value for key, value in for_middleware.items() if key in one.options}
            )
        self.handlers.append(made)
        return made

    def _check_others(self, made: Declared) -> None:
        """Raises ConfigError for what cannot be together."""
        for other in self.handlers:
            if made.kind == "task" == other.kind and made.name == other.name:
                raise ConfigError(
                    f"{made.where}: {other.where} is called {made.name!r} already; give one of them a name=..."
                )
            if made.queue.name != other.queue.name or not made.queue.name:
                continue
            if not made.kind == "task" == other.kind:
                raise ConfigError(
                    f"{made.where}: {other.where} handles queue {made.queue.name!r} already; a queue has one handler in"
                    " an app (tasks may share one), and concurrency=... has it do more at once"
                )
        if made.kind == "task":
            declaring.share([one for one in self.handlers if one.queue.name == made.queue.name] + [made])

    # ---- connecting, as a producer

    @property
    def client(self) -> Any:
        """The connected client; in a thread of a handler one with the same methods, which wait. Raises Closed."""
        if self._client is None:
            raise Closed(
                f"the app {self.name!r} is not connected: post within `async with app:`, or `with app.sync() as tasks:`"
            )
        if HERE.handles:
            return self._elsewhere()
        return self._client

    def _elsewhere(self) -> ThreadClient:
        assert self._loop is not None
        return ThreadClient(self._client, self._loop)

    def post(self, to: str, body: bytes, options: Mapping[str, Any]) -> Awaitable[None]:
        """As `client.post`, and from a thread of a handler too. Raises Closed."""
        client = self.client
        if threading.get_ident() != self._thread_id:
            client = self._elsewhere()
        posted: Awaitable[None] = client.post(to, body, **options)
        return posted

    def make_client(self) -> Any:
        """A client as the app's arguments say, not yet open."""
        from leveret.client.opening import connect  # not needed to declare

        return connect(*self.urls, **self._connection())

    def _connection(self) -> dict[str, Any]:
        options = dict(self.connect_options)
        options.setdefault("name", self.name)
        if self.serializers is not serialize.DEFAULT:
            options["serializer"] = self.serializers
        return options

    async def __aenter__(self) -> Self:
        """Connect, to post tasks; handles nothing. Queues of tasks are declared."""
        if self._client is not None:
            raise ConfigError(f"the app {self.name!r} is connected already")
        client = self.make_client()
        await client.open()
        self.use(client)
        self._own_client = client
        try:
            for queue in {one.queue.name: one.queue for one in self.handlers if one.kind == "task"}.values():
                await client.declare_queue(queue)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._own_client, self._client = self._own_client, None, None
        await client.close()

    def sync(self) -> SyncTasks:
        """For code without a loop: `with app.sync() as tasks: tasks.post(resize, "a.jpg")`."""
        from leveret.client.sync import connect_sync  # not needed to declare

        return SyncTasks(connect_sync(*self.urls, **self._connection()))

    def use(self, client: Any) -> Any:
        """Have tasks posted by this client of the running loop, or None; gives the one before."""
        before, self._client = self._client, client
        if client is not None:
            self._loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
        return before

    # ---- running

    def chosen(self, queues: Iterable[str] | None = None) -> list[Declared]:
        """The handlers of these queues; of all if it is None. Raises ConfigError."""
        if queues is None:
            return list(self.handlers)
        wanted = list(queues)
        known = [one.queue.name or one.name for one in self.handlers]
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known) or 'none'}"
                raise ConfigError(f"the app {self.name!r} has no handler of queue {name!r}{hint}")
        return [one for one in self.handlers if (one.queue.name or one.name) in wanted]

    def running(self, client: Any = None, *, queues: Iterable[str] | None = None, **options: Any) -> Running:
        """Handle messages while the context lasts; see `running.Running` for what is given and options.

        With a `client` that is open, by that one, which stays open. Leaving it drains.
        """
        from leveret.worker.running import Running

        return Running(self, client, self.chosen(queues), **options)

    async def run(
        self,
        *,
        queues: Iterable[str] | None = None,
        concurrency: int | None = None,
        grace_s: float | None = None,
        wait: bool = True,
    ) -> None:
        """Handle messages until SIGTERM or SIGINT, or until cancelled; then finish within `grace_s` and return.

        A second signal has it leave at once; what was in work goes back to its queue. While there is no broker yet, it
        waits for one; with `wait=False` it raises ConnectFailed, as it does always for a refused login.
        """
        from leveret.worker.running import run_until_told

        await run_until_told(self, queues=queues, concurrency=concurrency, grace_s=grace_s, wait=wait)


_OWN_OPTIONS = {
    "consumer": (),
    "subscriber": ("exchange",),
    "task": ("unique",),
    "cron": ("schedule", "timezone", "limit", "overlap", "catch_up"),
}


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _made(
    kind: str,
    name: str,
    function: Callable[..., Any],
    arguments: Arguments,
    queue: Queue,
    settings: Settings,
) -> Declared:
    """The handler with its settings checked, and its queue as they need it. Raises ConfigError."""
    where = arguments.where
    pool = declaring.checked_pool(where, function, settings.get("pool", UNSET))
    concurrency = declaring.checked_concurrency(where, pool, settings.get("concurrency", UNSET))
    prefetch = declaring.checked_prefetch(where, settings.get("prefetch", UNSET))
    group_by = settings.get("group_by")
    _check_group(kind, arguments, group_by)
    _check_process(pool, function, arguments, settings)
    made = Declared(
        kind, name, function, arguments, queue, pool, concurrency, prefetch,
        declaring.checked_seconds(where, "timeout_s", settings.get("timeout_s")),
        None, None, group_by, settings.get("recycle_after"), settings.get("memory_limit_bytes"),
        base=queue, given=dict(settings),
    )  # fmt: skip
    declaring.complete(made)
    return made


def _check_group(kind: str, arguments: Arguments, group_by: Any) -> None:
    if group_by is None or group_by is False:
        return
    where = arguments.where
    if kind == "task":
        if group_by not in arguments.names:
            known = ", ".join(arguments.names) or "none"
            raise ConfigError(
                f"{where}: group_by names a parameter of the task, not {group_by!r}; there are {known}"
            )
    elif group_by is not True and not (isinstance(group_by, str) and group_by):
        raise ConfigError(
            f"{where}: group_by is the name of the header that tells the group, or True for x-group-id, which"
            f" `post(..., group=...)` sets; not {group_by!r}"
        )


def _check_process(pool: str, function: Any, arguments: Arguments, settings: Settings) -> None:
    where = arguments.where
    if pool != "process":
        for name in ("recycle_after", "memory_limit_bytes"):
            if settings.get(name) is not None:
                raise ConfigError(f"{where}: {name} is of pool='process'; its pool is {pool!r}")
        return
    if arguments.messages:
        raise ConfigError(
            f"{where}: parameter {arguments.messages[0]!r} is the message, which cannot be in another process: take"
            " what is needed of it from the body, or use pool='thread'"
        )
    if "<locals>" in function.__qualname__ or function.__qualname__ == "<lambda>":
        raise ConfigError(
            f"{where}: a process pool finds its handler again by importing its module, so it has to be at the top of"
            " the module, not inside a function"
        )
