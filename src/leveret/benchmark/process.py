"""One process of the load: `python -m leveret.benchmark.process`, led by lines on its standard input.

The first line is its share of the plan. Then: `go` starts publishing, `mark` begins the window that is timed, `stop` ends
publishing, `end` ends all. It tells in lines of JSON: that it is ready, its counts ten times a second, what it was at a mark
and when it stopped, its times at the end, or why it cannot go on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from leveret.benchmark.calls import Caller, Responder
from leveret.benchmark.content import now_ns
from leveret.benchmark.histogram import Times
from leveret.benchmark.load import Publisher, Taker
from leveret.benchmark.plan import RPC, Plan, Share, share_from_json
from leveret.client.address import parse_addresses
from leveret.client.connector import Connector
from leveret.client.engine.outbox import STEM_BYTES, Outbox
from leveret.client.link import Link
from leveret.errors import LeveretError

TICK_S: Final = 0.1
TIMEOUT_S: Final = 10.0
NO_HEARTBEAT: Final = 0.0  # what comes is not told to the link that would expect them
LINE_BYTES: Final = 1 << 20


class Active(Protocol):
    """A connection that publishes, consumes, calls or answers."""

    ended: asyncio.Future[LeveretError]
    last_ns: int

    async def open(self) -> None: ...

    def stop(self) -> None: ...

    async def close(self) -> None: ...


class Process:
    def __init__(self, share: Share, write: Callable[[str], object]) -> None:
        """Raises Unsupported without the library for times."""
        self.share = share
        self.confirms, self.latencies = Times(), Times()
        self.publishers: list[Publisher | Caller] = []
        self.takers: list[Taker | Responder] = []
        self._write = write

    def say(self, what: str, value: object) -> None:
        self._write(json.dumps({what: value}) + "\n")

    def counts(self) -> dict[str, int]:
        return {
            "sent": sum(each.sent for each in self.publishers),
            "confirmed": sum(each.confirmed for each in self.publishers),
            "refused": sum(each.refused for each in self.publishers),
            "delivered": sum(each.taken for each in self.takers),
            "confirmed_ns": max((each.last_ns for each in self.publishers), default=0),
            "delivered_ns": max((each.last_ns for each in self.takers), default=0),
            "at_ns": now_ns(),
        }

    # ---- connections

    async def open(self) -> None:
        """Consumers first, so that nothing has to wait for them. Raises LeveretError."""
        plan = self.share.plan
        for number in self.share.takers:
            taker = (
                Responder(plan, number)
                if plan.scenario == RPC
                else Taker(await _connect(plan), plan, number, self.latencies.record)
            )
            self.takers.append(taker)
            await taker.open()
        for number, messages in zip(self.share.publishers, self.share.messages_each(), strict=True):
            if plan.scenario == RPC:
                self.publishers.append(Caller(plan, number, self.latencies.record, messages))
            else:
                link = await _connect(plan)
                self.publishers.append(Publisher(link, plan, number, self.confirms.record, messages))
            await self.publishers[-1].open()

    def _all(self) -> Sequence[Active]:
        return [*self.publishers, *self.takers]

    # ---- what is asked for

    def obey(self, command: str) -> bool:
        """Returns whether to go on."""
        if command == "go":
            for taker in self.takers:
                taker.start()
            for publisher in self.publishers:
                publisher.start()
        elif command == "mark":
            self.confirms.reset()
            self.latencies.reset()
            self.say("marked", self.counts())
        elif command == "stop":
            self.say("stopped", self.counts())
            for publisher in self.publishers:
                publisher.stop()
        elif command == "end":
            for taker in self.takers:
                taker.stop()
            self.say("times", {"confirms": self.confirms.encode(), "latencies": self.latencies.encode()})
            return False
        return True

    async def run(self, commands: asyncio.StreamReader) -> None:
        await self.open()
        self.say("ready", True)
        ticking = asyncio.create_task(self._tick())
        leading = asyncio.create_task(self._lead(commands))
        endings: list[asyncio.Future[Any]] = [each.ended for each in self._all()]
        try:
            done, _ = await asyncio.wait([*endings, leading], return_when=asyncio.FIRST_COMPLETED)
            if leading not in done:
                raise next(ended.result() for ended in endings if ended.done())
            leading.result()
        finally:
            ticking.cancel()
            leading.cancel()
        for each in self._all():
            await each.close()

    async def _lead(self, commands: asyncio.StreamReader) -> None:
        while line := await commands.readline():
            if not self.obey(line.decode().strip()):
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            blocked = next((each.link.blocked for each in self.publishers if isinstance(each, Publisher)), "")
            self.say("counts", self.counts() | {"blocked": blocked})


async def _connect(plan: Plan) -> Link:
    connector = Connector(parse_addresses((plan.url,)), None, "leveret bench", NO_HEARTBEAT, TIMEOUT_S)
    return await connector.connect(Outbox(1, bytes(STEM_BYTES)))


async def _main() -> None:
    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        process = Process(share_from_json((await reader.readline()).decode()), write)
        await process.run(reader)
    except LeveretError as error:
        write(json.dumps({"failed": {"text": error.text, "code": error.code}}) + "\n")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On the faster loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


if __name__ == "__main__":
    run(_main)
