"""One queue worked off once: what is there is handled, then it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leveret.client.topology import Queue
from leveret.worker.app import App
from leveret.worker.consumer import Counts, QueueRunner
from leveret.worker.declared import Declared
from leveret.worker.failures import FailureLog
from leveret.worker.middleware import Chain
from leveret.worker.running import with_concurrency
from leveret.worker.tasks import Handler
from leveret.worker.work import Work


@dataclass(frozen=True)
class Drained:
    """`timed_out`: the time was over, or it was told to stop, before the queue was empty."""

    counts: Counts
    timed_out: bool


def declared_for(queue: str, function: Callable[..., Any], concurrency: int | None) -> tuple[App, Declared]:
    """The app and the handler: as it was declared, or the plain function as a consumer of the queue."""
    if isinstance(function, Handler):
        return function.app, with_concurrency(function.declared, concurrency)
    app = App(name="drain")
    options: dict[str, Any] = {} if concurrency is None else {"concurrency": concurrency}
    # No queue is declared by this name: how that of `queue` was declared is not known.
    handler = app.consumer(f"{queue} (drained)", **options)(function)
    return app, handler.declared


def works_for(app: App, declared: Declared, concurrency: int | None) -> list[Declared]:
    """The handler and, of a task, the app's others of its queue: their messages come, too, and are handled by them."""
    if declared.kind != "task":
        return [declared]
    others = (one for one in app.handlers if one.kind == "task" and one.name != declared.name)
    shared = (one for one in others if one.queue.name == declared.queue.name)
    return [declared, *(with_concurrency(one, concurrency) for one in shared)]


async def drain(
    queue: str,
    function: Callable[..., Any],
    urls: Sequence[Any] = (),
    *,
    limit: int | None = None,
    timeout_s: float | None = None,
    concurrency: int | None = None,
    grace_s: float = 30.0,
) -> Drained:
    """Handle what is in the queue, at most `limit`; begin nothing after `timeout_s`, or SIGTERM.

    Of a task, the app's other tasks of its queue handle theirs.

    The queue has to be there. Raises ConnectFailed, Refused, ConfigError.
    """
    app, declared = declared_for(queue, function, concurrency)
    if urls:
        app.urls = tuple(urls)
    app.connect_options = {**app.connect_options, "reconnect": False}
    client = app.make_client()
    await client.open()
    before = app.use(client)
    log = FailureLog()
    chain = Chain(app.middleware)
    works = [Work(one, chain, app.resources) for one in works_for(app, declared, concurrency)]
    try:
        spec, dead_letter = await _spec(client, queue, declared)
        await chain.started(app)
        for work in works:
            await work.open()
        named = {one.name if declared.kind == "task" else None: one for one in works}
        runner = QueueRunner(queue, named, dead_letter, log=log)
        timed_out = await _work_off(runner, client.drain(spec, limit=limit), timeout_s, grace_s)
        return Drained(runner.counts, timed_out)
    finally:
        for work in works:
            await work.close(0.0)
        await app.resources.close()
        await chain.stopped()
        log.close()
        app.use(before)
        await client.close()


async def _spec(client: Any, queue: str, declared: Declared) -> tuple[Queue, str | None]:
    """The queue, and where its dead go: as the handler has it if it was declared for this queue, else as it is there."""
    await client.look_at_queue(queue)  # Refused if it is not there: a misspelt name would be drained for ever
    if declared.queue.name == queue:
        await client.declare_queue(declared.queue)
        return declared.queue, declared.dead_letter
    dead_letter = f"{queue}.dead"
    await client.declare_queue(Queue(dead_letter))
    return Queue(queue), dead_letter


async def _work_off(runner: QueueRunner, messages: Any, timeout_s: float | None, grace_s: float) -> bool:
    """Whether it was cut short."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    timer = None if timeout_s is None else loop.call_later(timeout_s, told.set)
    work = asyncio.ensure_future(runner.feed(messages))
    wait = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({work, wait}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
            return False
        runner.stop_taking()
        await asyncio.wait({work}, timeout=grace_s)
        if not work.done():
            await runner.give_up()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return True
    finally:
        wait.cancel()
        if timer is not None:
            timer.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
