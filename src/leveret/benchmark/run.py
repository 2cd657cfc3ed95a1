"""A run from beginning to end: queues made, processes started and led, counts gathered, everything made deleted again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

from leveret.benchmark.content import now_ns
from leveret.benchmark.histogram import Times
from leveret.benchmark.plan import BACKLOG, FANOUT, RPC, Plan, Share, shares
from leveret.benchmark.result import Result
from leveret.client import Client, Queue, connect
from leveret.client.address import parse_addresses
from leveret.errors import ClientError, LeveretError, Refused

START_S: Final = 30.0
DRAIN_S: Final = 30.0  # without a message, before what is missing is given up
BLOCKED_S: Final = 15.0
LINE_BYTES: Final = 16 << 20
COUNTS: Final = ("sent", "confirmed", "delivered", "refused")

Show = Callable[[dict[str, float]], None]  # told once a second


class BenchFailed(ClientError):
    """The load could not be carried; the text says what stood in the way."""


class Child:
    """One process of the load. `counts` is what it told last."""

    def __init__(self, process: asyncio.subprocess.Process, changed: asyncio.Event) -> None:
        self.process = process
        self.counts: dict[str, Any] = dict.fromkeys((*COUNTS, "confirmed_ns", "delivered_ns", "at_ns"), 0)
        self.told: dict[str, Any] = {}
        self.error: LeveretError | None = None
        self._changed = changed
        self._reading = asyncio.create_task(self._read())

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self.process.stdin.write(command.encode() + b"\n")

    async def _read(self) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        while line := await self.process.stdout.readline():
            for what, value in json.loads(line).items():
                if what == "counts":
                    self.counts = value
                elif what == "failed":
                    self.error = BenchFailed(value["text"])
                    self.error.code = value["code"]
                else:
                    self.told[what] = value
            self._changed.set()
        errors = (await self.process.stderr.read()).decode(errors="replace").strip()
        if "times" not in self.told and self.error is None:
            last = errors.splitlines()[-1] if errors else "no word of why"
            self.error = BenchFailed(f"a process of the load ended: {last}")
        self._changed.set()

    async def end(self) -> None:
        """It goes by itself when it was told to, or else at once."""
        if "times" not in self.told:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        await self._reading


class Team:
    """All processes of a load."""

    def __init__(self, show: Show) -> None:
        self.children: list[Child] = []
        self.series: list[dict[str, float]] = []
        self._changed = asyncio.Event()
        self._show = show
        self._seen: dict[str, float] = {}
        self._second = 0.0
        self._blocked_since = 0.0

    async def start(self, share: Share) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "leveret.benchmark.process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )  # fmt: skip
        child = Child(process, self._changed)
        child.say(share.as_json())
        self.children.append(child)

    def say(self, command: str) -> None:
        for child in self.children:
            child.say(command)

    def total(self, name: str) -> int:
        return sum(int(child.counts[name]) for child in self.children)

    def latest_ns(self, name: str) -> int:
        return max(int(child.counts[name]) for child in self.children)

    def check(self) -> None:
        """Raises what ended a child, and BenchFailed where the broker takes nothing for long."""
        for child in self.children:
            if child.error is not None:
                raise child.error
        blocked = next(
            (child.counts["blocked"] for child in self.children if child.counts.get("blocked")), ""
        )
        now = asyncio.get_running_loop().time()
        if not blocked:
            self._blocked_since = 0.0
        elif not self._blocked_since:
            self._blocked_since = now
        elif now - self._blocked_since > BLOCKED_S:
            raise BenchFailed(f"the broker takes no messages for {BLOCKED_S:g} s: {blocked}")

    async def wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Until it is so; False when it took too long. Raises as `check`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while not ready():
            self.check()
            self._changed.clear()
            if loop.time() >= end:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(0.25, max(0.01, end - loop.time())))
            self._tell()
        return True

    async def pause(self, seconds: float) -> None:
        await self.wait(lambda: False, seconds)

    async def wait_while_moving(self, ready: Callable[[], bool], *names: str) -> bool:
        """Until it is so; False when the counts stand still for long."""

        def moved(before: list[int]) -> bool:
            return ready() or [self.total(name) for name in names] != before

        while await self.wait(partial(moved, [self.total(name) for name in names]), DRAIN_S):
            if ready():
                return True
        return False

    def all_told(self, what: str) -> bool:
        return all(what in child.told for child in self.children)

    def sum_told(self, what: str, name: str) -> int:
        return sum(int(child.told[what][name]) for child in self.children)

    def _tell(self) -> None:
        """Once a second: rates since the last time."""
        now = asyncio.get_running_loop().time()
        if now - self._second < 1.0:
            return
        totals = {name: float(self.total(name)) for name in COUNTS}
        if self._seen:
            past_s = now - self._second
            rates = {
                f"{name}_per_s": round((totals[name] - self._seen[name]) / past_s, 1) for name in COUNTS[:3]
            }
            entry = {"second": float(len(self.series) + 1), **rates}
            self.series.append(entry)
            self._show(entry)
        self._seen, self._second = totals, now

    async def end(self) -> None:
        for child in self.children:
            await child.end()


@contextlib.asynccontextmanager
async def prepared(plan: Plan) -> AsyncIterator[Client]:
    """The queues of a plan, with names of their own, gone afterwards whatever happened."""
    client = connect(plan.url, name="leveret bench", reconnect=False)
    async with client:
        plan.prefix = f"leveret-bench-{secrets.token_hex(4)}"
        try:
            if plan.exchange:
                await client.declare_exchange(plan.exchange, "fanout", durable=plan.persistent)
            for index in range(plan.queues):
                await declare(client, plan, plan.queue(index))
                if plan.exchange:
                    await client.bind(plan.queue(index), plan.exchange)
            yield client
        finally:
            with contextlib.suppress(LeveretError):
                for index in range(plan.queues):
                    await client.delete_queue(plan.queue(index))
                if plan.exchange:
                    await client.delete_exchange(plan.exchange)


async def declare(client: Client, plan: Plan, name: str) -> None:
    """As durable as its messages; RabbitMQ 4.3 refuses queues that are not, and gets a durable one."""
    try:
        await client.declare_queue(Queue(name, durable=plan.persistent))
    except Refused:
        if plan.persistent:
            raise
        await client.declare_queue(Queue(name, durable=True))


async def measure(plan: Plan, show: Show) -> Result:
    """One run. Raises LeveretError: ConnectFailed, Refused, BenchFailed, Unsupported without hdrhistogram."""
    plan.check()
    times = (Times(), Times())
    async with prepared(plan) as client:
        team = Team(show)
        try:
            if plan.scenario == BACKLOG:
                seconds, rates = await _backlog(plan, team)
            elif plan.messages:
                seconds, rates = await _counted(plan, team)
            else:
                seconds, rates = await _timed(plan, team)
            refused = team.total("refused")
            team.say("end")
            await team.wait(lambda: team.all_told("times"), START_S)
        finally:
            await team.end()
        for child in team.children:
            times[0].add(child.told["times"]["latencies"])
            times[1].add(child.told["times"]["confirms"])
        server = client.server
        where = parse_addresses((plan.url,))[0].url
        product, version = (server.product, server.version) if server is not None else ("", "")
        return Result(plan, where, product, version, seconds, rates, refused, *times, team.series)


async def _start(team: Team, found: list[Share]) -> None:
    for share in found:
        await team.start(share)
    if not await team.wait(lambda: team.all_told("ready"), START_S):
        raise BenchFailed(f"the processes of the load were not ready within {START_S:g} s")


async def _timed(plan: Plan, team: Team) -> tuple[float, dict[str, float]]:
    """A warm-up, then a window; rates are what happened between its ends, as each process saw them."""
    await _start(team, shares(plan))
    team.say("go")
    await team.pause(plan.warmup_s)
    team.series.clear()
    team.say("mark")
    await team.wait(lambda: team.all_told("marked"), START_S)
    await team.pause(plan.duration_s)
    team.say("stop")
    await team.wait(lambda: team.all_told("stopped"), START_S)
    rates = dict.fromkeys(COUNTS, 0.0)
    seconds = 0.0
    for child in team.children:
        begun, ended = child.told["marked"], child.told["stopped"]
        past_s = (ended["at_ns"] - begun["at_ns"]) / 1e9
        seconds = max(seconds, past_s)
        for name in COUNTS:
            rates[name] += (ended[name] - begun[name]) / past_s
    await _arrive(plan, team)
    return seconds, _named(plan, rates)


async def _counted(plan: Plan, team: Team) -> tuple[float, dict[str, float]]:
    """So many messages, from the first to the last."""
    await _start(team, shares(plan))
    began_ns = now_ns()
    team.say("go")
    due = plan.messages * (plan.queues if plan.scenario == FANOUT else 1)

    def over() -> bool:
        settled = team.total("confirmed") + team.total("refused") >= plan.messages
        return settled and (not plan.consumers or team.total("delivered") >= due - team.total("refused"))

    if not await team.wait_while_moving(over, "confirmed", "delivered"):
        raise _missing(team, due)
    last = {name: team.latest_ns(f"{name}_ns") for name in ("confirmed", "delivered")}
    seconds = {name: max(1e-9, (ns - began_ns) / 1e9) for name, ns in last.items()}
    rates = {"sent": 0.0, "confirmed": team.total("confirmed") / seconds["confirmed"]}
    rates["sent"] = rates["confirmed"]
    rates["delivered"] = team.total("delivered") / seconds["delivered"] if plan.consumers else 0.0
    return max(seconds.values()), _named(plan, rates)


async def _backlog(plan: Plan, team: Team) -> tuple[float, dict[str, float]]:
    """Fill with nobody consuming, then drain with nobody publishing."""
    await _start(team, shares(plan, consume=False))
    began_ns = now_ns()
    team.say("go")
    if not await team.wait_while_moving(lambda: team.total("confirmed") >= plan.messages, "confirmed"):
        raise BenchFailed(
            f"{team.total('confirmed'):,} of {plan.messages:,} messages were confirmed, then no more"
        )
    filled_s = (team.latest_ns("confirmed_ns") - began_ns) / 1e9
    team.say("stop")
    await _start(team, shares(plan, publish=False))
    began_ns = now_ns()
    team.say("go")
    if not await team.wait_while_moving(lambda: team.total("delivered") >= plan.messages, "delivered"):
        raise _missing(team, plan.messages)
    drained_s = (team.latest_ns("delivered_ns") - began_ns) / 1e9
    return filled_s + drained_s, {
        "filled_per_s": plan.messages / max(1e-9, filled_s),
        "drained_per_s": plan.messages / max(1e-9, drained_s),
    }


async def _arrive(plan: Plan, team: Team) -> None:
    """Everything that was sent is confirmed and delivered. Raises BenchFailed when something is not."""
    copies = plan.queues if plan.scenario == FANOUT else 1

    def over() -> bool:
        settled = team.total("sent") == team.total("confirmed") + team.total("refused")
        due = (team.total("sent") - team.total("refused")) * copies
        return settled and (not plan.consumers or team.total("delivered") >= due)

    await team.pause(0.2)  # the last counts are on their way
    if not await team.wait_while_moving(over, "confirmed", "delivered"):
        raise _missing(team, team.total("sent") * copies)


def _missing(team: Team, due: int) -> BenchFailed:
    delivered, confirmed = team.total("delivered"), team.total("confirmed")
    return BenchFailed(
        f"nothing moved for {DRAIN_S:g} s: {confirmed:,} messages were confirmed and {delivered:,} delivered of {due:,}"
    )


def _named(plan: Plan, rates: dict[str, float]) -> dict[str, float]:
    if plan.scenario == RPC:
        return {"answered_per_s": rates["confirmed"]}
    found = {"published_per_s": rates["sent"]}
    if plan.window:
        found["confirmed_per_s"] = rates["confirmed"]
    if plan.consumers:
        found["delivered_per_s"] = rates["delivered"]
    return found
