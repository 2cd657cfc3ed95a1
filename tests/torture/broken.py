"""python -m tests.torture.broken HOW ...: a broker that is broken on purpose, to see that torture finds out.

Works with interpreted code only: compiled methods are not looked up where they are replaced here.
"""

from __future__ import annotations

import random
import sys

from leveret.cli.main import main
from leveret.core.attempts import Attempts
from leveret.core.delays import Delays
from leveret.core.graves import Graves

RARELY = 0.02


def loses_dead_letters() -> None:
    publish = Graves.publish

    def lossy(self, m, reason, lane, seq, head):  # type: ignore[no-untyped-def]
        return False if random.random() < RARELY else publish(self, m, reason, lane, seq, head)

    Graves.publish = lossy  # type: ignore[method-assign]


def doubles_dead_letters() -> None:
    publish = Graves.publish

    def doubling(self, m, reason, lane, seq, head):  # type: ignore[no-untyped-def]
        if random.random() < RARELY:
            publish(self, m, reason, None, 0, head)
        return publish(self, m, reason, lane, seq, head)

    Graves.publish = doubling  # type: ignore[method-assign]


def is_early() -> None:
    hold = Delays.hold

    def early(self, holder, m):  # type: ignore[no-untyped-def]
        m.terms.due_ms -= 1_000
        return hold(self, holder, m)

    Delays.hold = early  # type: ignore[method-assign]


def forgets_what_waits_for_a_retry() -> None:
    def forget(self, known, seq, tried, delay_ms):  # type: ignore[no-untyped-def]
        known.lane.remove(seq, True)

    Attempts._sleep = forget  # type: ignore[method-assign]


HOW = {
    "loses": loses_dead_letters,
    "doubles": doubles_dead_letters,
    "early": is_early,
    "forgets": forgets_what_waits_for_a_retry,
}

if __name__ == "__main__":
    HOW[sys.argv.pop(1)]()
    sys.exit(main())
