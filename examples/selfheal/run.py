"""Self-healing: workers, the broker and the network are killed in turn, under load, and nothing is lost.

    python examples/selfheal/run.py

A producer posts messages all the time; workers handle them. All reach the broker through a proxy, which stands for the
network. One after the other a worker is killed (SIGKILL, and replaced), the broker is killed (and started again), and
the network is cut (and mended), again and again. Nobody tells the clients: they find back by themselves. A ledger
proves in the end that each message was handled, and says how often one was handled twice.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common.broker import Broker
from examples.common.queues import until_consumed
from examples.common.report import Expectation, table
from examples.common.stage import Stage, parser, play
from examples.common.waiting import Watch
from examples.selfheal import QUEUE, drawing
from examples.selfheal.drawing import Fault
from examples.selfheal.ledger import Balance, Ledger
from examples.selfheal.proxy import Proxy

CAUGHT_UP_S = 0.2  # what comes in so long may wait
LOOK_S = 0.05  # how often the ledger is looked at
KINDS = ("worker", "broker", "network")


class SelfHeal:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.book = folder / "ledger.db"
        self.ledger = Ledger(self.book)
        self.faults: list[Fault] = []
        self.posted = 0
        self.failed: list[str] = []  # outcomes that were none
        self.watch = Watch()
        self._workers = itertools.count(1)

    async def run(self) -> bool:
        try:
            async with Stage(self.folder) as stage, Proxy(stage.broker.port) as network:
                url = Broker.url_through(network.port)
                looking = asyncio.create_task(self.look(stage))
                try:
                    return await self.play(stage, network, url)
                finally:
                    looking.cancel()
        finally:
            self.ledger.close()

    async def play(self, stage: Stage, network: Proxy, url: str) -> bool:
        async with leveret.connect(url, name="producer", on_outcome=self.outcome) as broker:
            for _ in range(self.options.workers):
                await self.start_worker(stage, url)
            await until_consumed(broker, QUEUE, self.options.workers, stage.children.values())
            producing = asyncio.create_task(self.produce(broker))
            for _ in range(self.options.rounds):
                for kind in KINDS:
                    await until_consumed(broker, QUEUE, self.options.workers, stage.children.values())
                    await self.break_and_watch(stage, network, url, kind)
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)
            await broker.flush()
            await self.watch.until(lambda: self.ledger.left() == 0, "the last message to be handled")
            left = (await broker.look_at_queue(QUEUE)).messages
            reconnects = broker.stats.reconnects
        codes = await stage.stop_children()
        return self.tell(stage, left, reconnects, codes)

    async def start_worker(self, stage: Stage, url: str) -> None:
        name = f"worker-{next(self._workers)}"
        variables = {
            "LEVERET_URL": url,
            "SELFHEAL_LEDGER": str(self.book),
            "SELFHEAL_WORKER": name,
            "SELFHEAL_WORK_MS": str(self.options.work_ms),
        }
        await stage.start(name, "examples.selfheal.worker", variables=variables)

    # ---- the load

    async def produce(self, broker: leveret.Client) -> None:
        """Post at a steady pace, whatever happens: `post` returns at once, also while the broker is away."""
        started_s = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, started_s + number / self.options.rate - time.monotonic()))
            self.posted += 1
            await broker.post(QUEUE, number, message_id=f"message-{number:06}")

    def outcome(self, outcome: leveret.Outcome) -> None:
        """The broker has a message on disk, or it is known that it has not."""
        if outcome.ok:
            self.ledger.sent(outcome.message_id)
        else:
            self.failed.append(f"{outcome.message_id}: {outcome.error}")

    async def look(self, stage: Stage) -> None:
        """Wake those that wait whenever the ledger has grown."""
        last = (0, 0)
        while True:
            await asyncio.sleep(LOOK_S)
            counts = self.ledger.counts()
            if counts != last:
                last = counts
                self.watch.touch()
                stage.progress.status(f"posted {self.posted}, confirmed {counts[0]}, handled {counts[1]}")

    # ---- what goes wrong on purpose

    async def break_and_watch(self, stage: Stage, network: Proxy, url: str, kind: str) -> None:
        """Wait until work goes on, break something, mend it, and wait until work goes on again."""
        await self.watch.until(self.caught_up, "the workers to catch up")
        await self.more_is_handled(self.options.between)
        at_s, broken_s = time.time(), time.monotonic()
        if kind == "worker":
            name = next(iter(stage.children))
            victim = stage.children.pop(name)
            await victim.kill()
            said = f"killed {name} (SIGKILL, pid {victim.pid}), and started another one"
            await self.start_worker(stage, url)
        elif kind == "broker":
            pid = stage.broker.pid
            await stage.broker.kill()
            await asyncio.sleep(self.options.down_s)
            await stage.broker.start()
            said = f"killed the broker (SIGKILL, pid {pid}), started again after {self.options.down_s:g} s"
        else:
            cut = network.connections
            network.down()
            await asyncio.sleep(self.options.down_s)
            network.up()
            said = f"cut the network ({cut} connections) for {self.options.down_s:g} s"
        down_s = time.monotonic() - broken_s
        await self.more_is_handled(1)
        healed_s = time.monotonic() - broken_s
        self.faults.append(Fault(kind, at_s, 0.0 if kind == "worker" else down_s, healed_s))
        stage.progress.say(f"{said}; messages were handled again {healed_s:.2f} s after the blow")

    def caught_up(self) -> bool:
        """Next to nothing waits, neither here nor in the broker."""
        waiting = self.posted - self.ledger.effects()
        return bool(waiting < CAUGHT_UP_S * self.options.rate + self.options.workers)

    async def more_is_handled(self, count: int) -> None:
        wanted = self.ledger.counts()[1] + count
        await self.watch.until(lambda: self.ledger.counts()[1] >= wanted, "messages to be handled")

    # ---- the end

    def tell(self, stage: Stage, left: int, reconnects: int, codes: dict[str, int]) -> bool:
        balance = self.ledger.balance()
        stage.progress.finish()
        rows = [
            [
                kind,
                str(len(found)),
                f"{max(f.down_s for f in found):.2f}",
                f"{max(f.healed_s for f in found):.2f}",
            ]
            for kind in KINDS
            if (found := [fault for fault in self.faults if fault.what == kind])
        ]
        print("\n" + table(("broken", "times", "down s, at most", "healed after s, at most"), rows))
        print(f"\n{self.posted} messages posted, {balance.sent} confirmed, {balance.effects} handled.")
        print(
            f"{balance.repeats} were handled again: {_share(balance)}. The ledger gave none of them a second effect."
        )
        print(f"The producer came back {reconnects} times. Handled by: {self.ledger.workers()}")
        for path in drawing.draw(*self.ledger.times(), self.faults, self.options.out):
            print(f"plot: {path}")
        return stage.conclude(
            judge(balance, self.posted, self.failed, self.faults, self.options.rounds, left, codes)
        )


def _share(balance: Balance) -> str:
    return f"{100 * balance.repeats / max(1, balance.sent):.1f} %, one message {balance.most} times at most"


def judge(
    balance: Balance,
    posted: int,
    failed: list[str],
    faults: list[Fault],
    rounds: int,
    left: int,
    codes: dict[str, int],
) -> list[Expectation]:
    missing, unknown = len(balance.missing), len(balance.unknown)
    happened = {kind: sum(fault.what == kind for fault in faults) for kind in KINDS}
    bad = {name: code for name, code in codes.items() if code != 0}
    return [
        Expectation(f"each was killed {rounds} times", set(happened.values()) == {rounds}, str(happened)),
        Expectation(
            "every message that was posted was confirmed in the end",
            balance.sent == posted and not failed,
            f"{balance.sent} of {posted}; {failed[:3]}",
        ),
        Expectation(
            "nothing is lost: every message was handled",
            not missing,
            f"{missing} missing: {balance.missing[:3]}",
        ),
        Expectation("nothing was handled that nobody sent", not unknown, f"{unknown}: {balance.unknown[:3]}"),
        Expectation(
            "every message had its effect once", balance.effects == balance.sent, f"{balance.effects}"
        ),
        Expectation("the queue is empty in the end", left == 0, f"{left} left"),
        Expectation("the workers left in good order when asked to", bool(codes) and not bad, str(bad)),
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, "selfheal")
    made.add_argument("--rounds", type=int, default=2, help="how often each of the three is killed (2)")
    made.add_argument("--workers", type=int, default=3, help="how many workers (3)")
    made.add_argument("--rate", type=float, default=200, help="messages a second (200)")
    made.add_argument("--work-ms", type=float, default=10, help="what a message takes (10)")
    made.add_argument("--down-s", type=float, default=0.7, help="how long broker and network are away (0.7)")
    made.add_argument("--between", type=int, default=200, help="messages handled between two blows (200)")
    made.add_argument("--keep", action="store_true", help="keep the ledger, a file of SQLite")
    options = made.parse_args(arguments)
    if min(options.rounds, options.workers, options.between) < 1 or options.rate <= 0:
        made.error("--rounds, --workers and --between: 1 or more; --rate: above 0")
    return options


def main() -> int:
    options = parse()
    return play("selfheal", lambda folder: SelfHeal(options, folder).run(), options.keep)


if __name__ == "__main__":
    sys.exit(main())
