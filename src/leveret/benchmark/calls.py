"""The load of `rpc`: callers and responders, which use the client as applications do.

A caller has as many calls under way as its window says, or makes one whenever one is due. What a call took is counted from
when it was due.
"""

from __future__ import annotations

import asyncio

from leveret.benchmark.content import now_ns
from leveret.benchmark.load import Record
from leveret.benchmark.plan import Plan
from leveret.client import Client, connect
from leveret.errors import LeveretError

TIMEOUT_S = 30.0


class _User:
    """Something with a client. `ended` tells why it cannot go on."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan = plan
        self.queue = plan.queue(number)
        self.ended: asyncio.Future[LeveretError] = asyncio.get_running_loop().create_future()
        self.last_ns = 0
        self.client: Client = connect(plan.url, name="leveret bench", reconnect=False)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        await self.client.open()

    def spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LeveretError) and not self.ended.done():
            self.ended.set_result(error)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self.client.close()


class Caller(_User):
    def __init__(self, plan: Plan, number: int, record: Record, messages: int) -> None:
        super().__init__(plan, number)
        self.sent = self.confirmed = self.refused = 0
        self._limit = messages
        self._record = record
        self._body = bytes(plan.size_bytes)
        self._going = False
        self._step_ns = 1e9 * plan.connections / plan.rate if plan.rate > 0 else 0.0
        self._offset_ns = self._step_ns * number / plan.connections

    def start(self) -> None:
        self._going = True
        if self._step_ns:
            self.spawn(asyncio.create_task(self._pace()))
        else:
            for _ in range(max(1, self.plan.window)):
                self.spawn(asyncio.create_task(self._loop()))

    def stop(self) -> None:
        self._going = False

    def _more(self) -> bool:
        return self._going and not (self._limit and self.sent >= self._limit)

    async def _loop(self) -> None:
        while self._more():
            await self._call(now_ns())

    async def _pace(self) -> None:
        began_ns = now_ns() + int(self._offset_ns)
        while self._more():
            due_ns = began_ns + int(self.sent * self._step_ns)
            wait_ns = due_ns - now_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
                continue
            self.spawn(asyncio.create_task(self._call(due_ns)))
            await asyncio.sleep(0)

    async def _call(self, due_ns: int) -> None:
        self.sent += 1
        await self.client.call(self.queue, self._body, timeout_s=TIMEOUT_S, persistent=self.plan.persistent)
        self.last_ns = now_ns()
        self.confirmed += 1
        self._record(self.last_ns - due_ns, 1)


class Responder(_User):
    def __init__(self, plan: Plan, number: int) -> None:
        super().__init__(plan, number)
        self.taken = 0

    def start(self) -> None:
        self.spawn(asyncio.create_task(self._answer()))

    def stop(self) -> None:
        """It answers until it is closed: a late call is still due an answer."""

    async def _answer(self) -> None:
        async for message in self.client.consume(
            self.queue, prefetch=self.plan.prefetch or "auto", declare=False
        ):
            message.reply(message.body, persistent=self.plan.persistent)
            message.ack()
            self.taken += 1
            self.last_ns = now_ns()
