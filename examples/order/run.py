"""Order: lost by workers that compete, kept by one alone, kept key by key while all of them work.

    python examples/order/run.py

The same messages three times: some about order A, some about B, and so on, each with its number. Four workers take
them, and each message takes a few milliseconds, one more than another. The only difference is how the queue was
declared; see `WAYS` below. Three pictures side by side show in which order the messages of a key were done.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common.stage import Stage, parser, play
from examples.order import drawing
from examples.order.trial import Event, Step, Trial, judge, shuffled

# What it is called, what it means, and the queue: the only difference
WAYS = (
    ("competing", "whoever is free takes the next one", leveret.Queue("order.competing")),
    (
        "single active",
        "one consumer gets everything, the others stand by",
        leveret.Queue("order.single", single_active=True),
    ),
    ("groups", "one consumer at a time for each key", leveret.Queue("order.groups", groups=True)),
)
COLUMN_WIDTH = 36
RUN = 3  # messages of one key in a row
ALL_DONE_S = 60.0


class Order:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.messages = options.keys * options.per_key

    async def run(self) -> bool:
        trials: list[Trial] = []
        async with Stage(self.folder) as stage:
            for name, explanation, queue in WAYS:
                trial = Trial(name, explanation)
                await self.play(stage.broker.url, queue, trial)
                trials.append(trial)
                stage.progress.say(
                    f"{name}: {explanation}. {trial.rate:.0f} messages/s, {len(trial.overtaken())} overtaken"
                )
            print("\n" + drawing.in_text(trials, self.options.workers, COLUMN_WIDTH))
            print(
                f"\n{drawing.IN_ORDER} done in order   {drawing.OVERTAKEN} done after a later one of its key"
            )
            for path in drawing.draw(trials, self.options.workers, self.options.out):
                print(f"plot: {path}")
            competing, single, groups = trials
            return stage.conclude(judge(competing, single, groups, self.messages, self.options.workers))

    async def play(self, url: str, queue: leveret.Queue, trial: Trial) -> None:
        """Fill the queue, then let all workers at it, and wait until every message is done."""
        async with leveret.connect(url, name="orders") as broker:
            await broker.declare_queue(queue)
            for key, number in shuffled(self.options.keys, self.options.per_key, RUN):
                # The group says who belongs together; only a queue with groups heeds it.
                broker.post(queue.name, Event(key, number), group=f"order-{key}")
            await broker.flush()
        started_s = time.monotonic()
        done = asyncio.Event()
        async with AsyncExitStack() as stack, asyncio.timeout(ALL_DONE_S), asyncio.TaskGroup() as group:
            # Each worker has a connection of its own, as if it were a process of its own.
            brokers = [
                await stack.enter_async_context(leveret.connect(url, name=f"worker-{worker + 1}"))
                for worker in range(self.options.workers)
            ]
            working = [
                group.create_task(self.work(broker, queue, worker, trial, started_s, done))
                for worker, broker in enumerate(brokers)
            ]
            await done.wait()
            for task in working:
                task.cancel()

    async def work(
        self,
        broker: leveret.Client,
        queue: leveret.Queue,
        worker: int,
        trial: Trial,
        started_s: float,
        done: asyncio.Event,
    ) -> None:
        async for message in broker.consume(queue, prefetch=1):
            async with message:  # acknowledged when the block ends well
                began_s = time.monotonic() - started_s
                event = message.decode(Event)
                assert isinstance(event, Event)
                chance = random.Random(f"{event.key}/{event.number}")  # the same in every trial
                await asyncio.sleep(chance.uniform(0.2, 1.8) * self.options.work_ms / 1000)
                trial.steps.append(
                    Step(event.key, event.number, worker, began_s, time.monotonic() - started_s)
                )
            if len(trial.steps) == self.messages:
                done.set()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, "order")
    made.add_argument("--workers", type=int, default=4, help="how many work at one queue (4)")
    made.add_argument("--keys", type=int, default=6, help="how many different keys (6)")
    made.add_argument("--per-key", type=int, default=24, help="messages of each (24)")
    made.add_argument(
        "--work-ms", type=float, default=10.0, help="what a message takes on average, in milliseconds (10)"
    )
    options = made.parse_args(arguments)
    if options.workers < 2 or options.keys < options.workers or options.per_key < 2:
        made.error("it takes 2 workers, as many keys as workers, and 2 messages of each key to lose order")
    return options


def main() -> int:
    options = parse()
    return play("order", lambda folder: Order(options, folder).run())


if __name__ == "__main__":
    sys.exit(main())
