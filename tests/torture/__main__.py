"""python -m tests.torture --cycles N [--seed S]: kill a loaded broker so often, and say what it lost."""

from __future__ import annotations

import argparse
import random
import sys

from .run import BACKLOG_MESSAGES, Torture


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the choices; when the system runs what is its own"
    )
    parser.add_argument(
        "--backlog", type=int, default=BACKLOG_MESSAGES, help="messages that wait all the time"
    )
    arguments = parser.parse_args()
    seed = random.randrange(1 << 31) if arguments.seed is None else arguments.seed
    torture = Torture(arguments.cycles, seed, backlog=arguments.backlog, say=say)
    say(f"seed {seed}, {arguments.cycles} cycles in {torture.folder}")
    broken = torture.run()
    counts = ", ".join(f"{value} {name}" for name, value in torture.counts().items())
    say(f"{torture.kills} kills; {counts}")
    if not broken:
        say("lost: 0")
        return 0
    say(f"BROKEN with seed {seed}: {broken[0]}")
    for text in broken[1:10]:
        say(f"  then: {text}")
    say(f"the store and the log are left in {torture.folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
