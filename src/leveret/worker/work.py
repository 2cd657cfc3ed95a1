"""A handler made ready in this process: its resources open, its pool running, middleware around it.

`plain` is the shortest way, `whole` the one with middleware or resources of a job, `submit` a pool without either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from leveret.errors import Closed, InvalidMessage
from leveret.worker import inside
from leveret.worker.arguments import BadArguments
from leveret.worker.declared import Declared
from leveret.worker.failures import HandlerTimeout, Lost, RemoteFailure, kind_of, text_of, traceback_of
from leveret.worker.interfaces import Done, Job, JobTimeout, LostJob, Pool, ResourcesLike, Target
from leveret.worker.middleware import Chain
from leveret.worker.pools import ThreadPool
from leveret.worker.process_pool import ProcessPool
from leveret.worker.threaded import HERE, ThreadMessage

Plain = Callable[[Any], Coroutine[Any, Any, Any]]
Whole = Callable[[Job], Coroutine[Any, Any, Any]]


class Work:
    """`open` before anything is run; `close` after the last job."""

    def __init__(self, declared: Declared, chain: Chain, resources: ResourcesLike) -> None:
        self.declared = declared
        self.info = declared.info
        self.name = declared.name
        self.retry = declared.retry
        # A pool keeps its own time: from when a job begins.
        self.timeout_s = declared.timeout_s if declared.pool == "async" else None
        self.received: Sequence[Callable[..., Any]] = chain.received
        self.finished: Sequence[Callable[..., Any]] = chain.finished
        self.plain: Plain | None = None
        self.whole: Whole | None = None
        self._chain = chain
        self._resources = resources
        self._pool: Pool | None = None
        self._by_job = any(resources.scope_of(name) == "job" for name in declared.arguments.resources)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._caller: Callable[[Any], Any] | None = None

    async def open(self) -> None:
        """Raises what a resource or a pool raises that cannot be made."""
        declared, arguments = self.declared, self.declared.arguments
        if declared.pool == "process":
            self._pool = self._process_pool()
        else:
            await self._resources.open(arguments.resources)
            if not self._by_job:
                fixed = {name: self._resources.get(name) for name in arguments.resources}
                self._caller = arguments.caller(fixed)
            if declared.pool == "thread":
                self._loop = asyncio.get_running_loop()
                self._pool = ThreadPool(
                    self._in_thread, declared.concurrency, timeout_s=declared.timeout_s, name=declared.name
                )
        if self._pool is not None:
            await self._pool.open()
        hooked = bool(self.received or self.finished or self._chain.around)
        if hooked or (self._by_job and declared.pool != "process"):
            compiled: Any = self._chain.compiled(self._job)
            self.whole = compiled
        elif declared.pool == "async":
            self.plain = self._caller

    async def close(self, grace_s: float) -> None:
        if self._pool is not None:
            await self._pool.close(grace_s)

    def recall(self) -> None:
        """What waits in a pool is Lost, to be given back."""
        if self._pool is not None:
            self._pool.drop_waiting()

    def _process_pool(self) -> ProcessPool:
        declared = self.declared
        return ProcessPool(
            Target(declared.function.__module__, declared.function.__qualname__),
            declared.concurrency,
            timeout_s=declared.timeout_s,
            recycle_after=declared.recycle_after,
            memory_limit_bytes=declared.memory_limit_bytes,
            name=declared.name,
        )

    @property
    def in_hand(self) -> int:
        """How many messages are worth having in work: pools take them in batches, while jobs are short."""
        declared = self.declared
        # While a job waits in the pool its resources are open, and middleware around it holds it back or has begun to
        # count: no more of them than threads.
        if self._pool is None or (declared.pool == "thread" and (self._by_job or self._chain.around)):
            return declared.concurrency
        if isinstance(declared.prefetch, int):
            return max(declared.concurrency, declared.prefetch)
        return max(declared.concurrency, self._pool.wanted)

    # ---- ways to run it

    async def _job(self, job: Job) -> Any:
        """What middleware is around."""
        message = job.message
        if self.declared.pool == "process":
            return await self._in_pool(message)
        if self._caller is not None:
            if self._pool is not None:
                return await self._in_pool(message)
            return await self._caller(message)
        arguments = self.declared.arguments
        named = arguments.named(message)
        async with self._resources.for_job(arguments.resources) as found:
            if self._pool is not None:
                return await self._in_pool((named, found))
            return await arguments.function(**named, **found)

    async def _in_pool(self, what: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                result, error = self.read_result(result)
            else:
                error = self.read_error(error, False)
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(what, done)
        return await future

    def submit(self, what: Any, on_done: Done) -> None:
        """Into the pool: a message, or arguments with resources. Raises BadArguments."""
        assert self._pool is not None
        if self.declared.pool == "process":
            try:
                body = what.body
            except InvalidMessage as error:  # it could not be decompressed
                raise BadArguments(f"{self.declared.where}: {error.text}") from None
            self._pool.submit([body, what.content_type, what.reply_to is not None], on_done)
        else:
            self._pool.submit(what, on_done)

    def _in_thread(self, what: Any) -> Any:
        HERE.handles = True
        taken = self.declared.arguments.messages
        if self._caller is not None:
            return self._caller(ThreadMessage(what, self._loop) if taken else what)
        named, found = what
        for name in taken:
            named[name] = ThreadMessage(named[name], self._loop)
        return self.declared.arguments.function(**named, **found)

    # ---- how it ended

    def read_result(self, result: Any) -> tuple[Any, BaseException | None]:
        """A pool's result: what the handler returned, or the error that stands for what it raised elsewhere."""
        if self.declared.pool != "process" or result is None:
            return result, None
        if result[0] == inside.REPLY:
            return Encoded(result[1], result[2]), None
        return None, inside.error_of(result)

    def read_error(self, error: BaseException, stopping: bool) -> BaseException:
        """A pool's error as one that says what becomes of the message."""
        if isinstance(error, JobTimeout):
            return HandlerTimeout(str(error))
        if isinstance(error, LostJob):
            # A process that dies in a job is the job's failure; that we stop it is not.
            if stopping or not error.started:
                return Lost(str(error))
            return RemoteFailure("leveret.worker.LostJob", str(error))
        if isinstance(error, Closed):
            return Lost(error.text)
        if isinstance(error, (KeyboardInterrupt, StopIteration)):  # they would mean something on the loop
            return RemoteFailure(kind_of(error), text_of(error), traceback_of(error))
        return error

    def reply(self, result: Any) -> tuple[Any, dict[str, Any]]:
        """The body and options of the answer."""
        if isinstance(result, Encoded):
            return result.body, {"content_type": result.content_type}
        if result is None:
            return b"null", {"content_type": "application/json"}
        return result, {}


class Encoded:
    """A result that a process of the pool has encoded."""

    __slots__ = ("body", "content_type")

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
