"""Whether an app could work: a line for each thing that was looked at. Changes nothing at the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from leveret.client.topology import Queue
from leveret.errors import ConfigError, LeveretError, Refused
from leveret.worker.app import App
from leveret.worker.declared import Declared
from leveret.worker.middleware import Chain
from leveret.worker.running import NO_HANDLERS, by_queue
from leveret.worker.work import Work

NOT_FOUND = 404


@dataclass(frozen=True)
class Finding:
    """`error` is None for what is well."""

    what: str
    text: str
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


async def check(app: App, queues: Iterable[str] | None, timeout_s: float) -> list[Finding]:
    """Handlers, resources, middleware, pools, broker, queues. Raises ConnectFailed if the broker cannot be reached."""
    handlers = app.chosen(queues)
    if not handlers:
        raise ConfigError(NO_HANDLERS.format(app.name))
    found = [Finding(one.where, described(one)) for one in handlers]
    found.append(await _machinery(app, handlers))
    client = app.make_client()
    async with asyncio.timeout(timeout_s):
        await client.open()
    try:
        server = client.server
        found.append(Finding("broker", f"{server.product} {server.version}"))
        for group in by_queue(handlers):
            topic = group[0].topic
            if topic is None or not topic.ephemeral:
                found.append(await _queue(client, group[0].queue))
    finally:
        await client.close()
    return found


def described(declared: Declared) -> str:
    retry = declared.retry
    tries = "no retries" if retry is None or retry.max == 0 else f"{retry.max} retries, {retry.backoff}"
    dead = f", then to {declared.dead_letter}" if declared.dead_letter is not None else ""
    where = declared.queue.name
    if declared.topic is not None:
        where = f"{declared.topic.pattern} of {declared.topic.exchange}"
    when = f", {declared.timing.schedule.text}" if declared.timing is not None else ""
    return (
        f"{declared.kind} of {where}{when}: {declared.concurrency} at once ({declared.pool}), {tries}{dead}"
    )


async def _machinery(app: App, handlers: list[Declared]) -> Finding:
    """Resources, middleware and pools are made as for work, and closed."""
    chain = Chain(app.middleware)
    works: list[Work] = []
    try:
        await chain.started(app)
        try:
            for declared in handlers:
                works.append(Work(declared, chain, app.resources))
                await works[-1].open()
        finally:
            for work in works:
                await work.close(0.0)
            await app.resources.close()
            await chain.stopped()
    except Exception as error:
        return Finding("resources, middleware, pools", str(error) or repr(error), error)
    return Finding("resources, middleware, pools", "can be made")


async def _queue(client: Any, queue: Queue) -> Finding:
    what = f"queue {queue.name}"
    try:
        for feature, text in queue.needs().items():
            client.demand(feature, text)
        info = await client.look_at_queue(queue.name)
    except Refused as error:
        if error.code == NOT_FOUND:
            return Finding(what, "is not there yet; it will be declared")
        return Finding(what, error.text, error)
    except LeveretError as error:
        return Finding(what, error.text, error)
    try:
        await client.declare_queue(queue)  # it is there: this compares
    except LeveretError as error:
        return Finding(
            what,
            f"is there, but otherwise than the handler wants it: {error.text}. Delete it, or use another",
            error,
        )
    return Finding(what, f"fits; {info.messages} messages, {info.consumers} consumers")
