"""One client under load through a storm of faults, one upon the other: a ledger says that nothing was lost.

Faults meet what faults have begun: reconnecting, declaring again, sending again. What comes is drawn from a seed;
STORM_SEEDS says how many seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import Any, Final

import pytest

import leveret
from leveret.errors import CallTimeout, ConnectFailed, Disconnected, Refused, Stale, Unroutable

from ...compat.broker import Address
from ...compat.waiting import eventually_async
from . import faults
from .brokers import Side
from .harness import Case, deadline, nothing_left, run
from .proxy import Point, Proxy

SEEDS: Final = int(os.environ.get("STORM_SEEDS", "3"))
FAULTS: Final = 40
DEADLINE_S: Final = 60.0
PLACES: Final[list[tuple[Any, str]]] = [
    ("client", "connection.start_ok"),
    ("client", "connection.open"),
    ("server", "channel.open_ok"),
    ("client", "queue.declare"),
    ("server", "queue.declare_ok"),
    ("client", "basic.qos"),
    ("client", "basic.consume"),
    ("server", "basic.consume_ok"),
    ("server", "confirm.select_ok"),
    ("client", "basic.publish"),
    ("client", "body"),
    ("server", "basic.ack"),
    ("client", "basic.ack"),
    ("server", "basic.deliver"),
    ("server", "body"),
    ("client", "basic.get"),
    ("server", "basic.get_empty"),
]
# Within a content nothing may be said; on channel 0 there is no channel to close.
ANYWHERE: Final[list[faults.Fault]] = [faults.fin, faults.reset, faults.silence]
BETWEEN: Final[list[faults.Fault]] = [
    faults.connection_close(320),
    faults.connection_close(501, "FRAME_ERROR - by the proxy"),
]
ON_CHANNELS: Final[list[faults.Fault]] = [
    faults.channel_close(406),
    faults.channel_close(541, "INTERNAL_ERROR - by the proxy"),
]


class Storm:
    """What the client does meanwhile, and what became of it."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self.case = case
        self.rng = rng
        self.queue = case.queue()
        self.calls = case.queue("calls")
        self.posted: set[str] = set()
        self.taken: set[str] = set()
        self.answered = 0
        self.over = asyncio.Event()

    async def post(self) -> None:
        number = 0
        while not self.over.is_set():
            for _ in range(self.rng.randrange(1, 20)):
                number += 1
                self.posted.add(str(number))
                await self.case.client.post(self.queue, str(number), message_id=str(number))
            with contextlib.suppress(TimeoutError):
                await self.case.client.flush(timeout_s=0.02)

    async def take(self) -> None:
        consumer = self.case.client.consume(self.queue, prefetch=self.rng.choice([1, 5, "auto"]))
        await self.case.insist(consumer.start)
        async for message in consumer:
            with contextlib.suppress(Stale):
                if self.rng.random() < 0.1:
                    message.release()
                else:
                    message.ack()
                    self.taken.add(str(message.message_id))

    async def answer(self) -> None:
        consumer = self.case.client.consume(self.calls)
        await self.case.insist(consumer.start)
        async for message in consumer:
            with contextlib.suppress(Stale):
                await message.reply(message.body)
                message.ack()

    async def call(self) -> None:
        while not self.over.is_set():
            body = b"%d" % self.rng.randrange(1_000_000)
            with contextlib.suppress(Disconnected, Refused, CallTimeout, Unroutable):
                assert (await self.case.client.call(self.calls, body, timeout_s=0.3)).body == body
                self.answered += 1

    async def ask(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(Disconnected, Refused):
                await self.case.client.declare_queue(leveret.Queue(self.queue))
                await self.case.client.get(self.calls + "-empty" if self.rng.random() < 0.1 else self.calls)
                await asyncio.sleep(0)

    async def strike(self) -> None:
        """The next fault comes when the last has come, or its place was not reached for a moment."""
        for _ in range(FAULTS):
            side, name = self.rng.choice(PLACES)
            when: Any = self.rng.choice(["before", "middle", "after"])
            choice = list(ANYWHERE)
            if name not in ("body", "basic.deliver", "basic.publish") and when != "middle":
                choice += BETWEEN
                if not name.startswith(("connection.", "channel.")):
                    choice += ON_CHANNELS
            nth = self.rng.randrange(1, 4)
            strike = self.case.proxy.at(Point(side, name, when, nth), self.rng.choice(choice))
            with contextlib.suppress(AssertionError):
                await strike.happened(0.3)
            self.case.proxy.forget(strike)


async def _play(address: Address, side: Side, seed: int) -> None:
    async with nothing_left(), Proxy(address) as proxy:
        proxy.heartbeat_s = 0.03
        case = Case(proxy, side, {"heartbeat_s": 0.12, "connect_timeout_s": 1.0})
        case.patience_s = DEADLINE_S / 2
        try:
            async with deadline(case, DEADLINE_S):
                await case.insist(case.client.open, ConnectFailed)
                await case.standing.start()
                storm = Storm(case, random.Random(seed))
                working = [
                    asyncio.ensure_future(work())
                    for work in (storm.post, storm.take, storm.take, storm.answer, storm.call, storm.ask)
                ]
                await storm.strike()
                storm.over.set()
                await _look(case, storm)
                await case.client.close()
                await asyncio.gather(*working)
                await case.standing.stop()
                await asyncio.gather(*[link.ends["client"].left.wait() for link in proxy.links])
        except BaseException:
            await case.give_up()
            raise
        finally:
            case.clean()


async def _look(case: Case, storm: Storm) -> None:
    await case.client.flush()
    told = [outcome.message_id for outcome in case.outcomes if outcome.message_id in storm.posted]
    assert sorted(told) == sorted(storm.posted), "each message has one outcome"
    reported = {outcome.message_id for outcome in case.outcomes if not outcome.ok}
    await eventually_async(
        lambda: storm.posted - reported <= storm.taken,
        "what was not reported was taken",
        case.patience_s,
    )
    await case.standing.resumed()
    assert case.client.stats.reconnects > 0
    body = b"the last one"
    reply = await case.insist(lambda: case.client.call(storm.calls, body, timeout_s=5), CallTimeout)
    assert reply.body == body


@pytest.mark.parametrize("seed", range(SEEDS))
def test_storm(address: Address, side: Side, seed: int) -> None:
    run(_play(address, side, seed))
