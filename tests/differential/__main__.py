"""Runs scenarios against two brokers and says where they differ.

    python -m tests.differential --left leveret --right amqp://guest:guest@host/%2F --seeds 300
    python -m tests.differential --left rabbitmq --right rabbitmq     # does the harness agree with itself?
    python -m tests.differential --replay FILE                        # a scenario that was kept

A difference is played again before it is believed: some of what RabbitMQ does is decided by races within it. What
agrees in any of the tries counts as the same, and as unstable; unstable scenarios are counted and named.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..compat.broker import Address
from .brokers import two_brokers, version_of
from .compare import Verdict, compare, report
from .generate import scenario_of, templates
from .known import Known, known_for
from .play import play
from .scenario import Scenario
from .shrink import shrink

TRIES = 3


@dataclass
class Result:
    scenario: Scenario
    verdict: Verdict
    tries: int
    text: str = ""
    once: str = ""


@dataclass
class Match:
    """Two brokers and what is known between them."""

    left: Address
    right: Address
    known: Sequence[Known] = ()
    names: tuple[str, str] = ("left", "right")
    shrinks: bool = True
    results: list[Result] = field(default_factory=list)

    def run(self, scenario: Scenario) -> Result:
        verdict, once = Verdict(), ""
        for attempt in range(1, TRIES + 1):
            verdict = compare(play(self.left, scenario), play(self.right, scenario), self.known)
            if verdict.difference is None:
                return Result(scenario, verdict, attempt, once=once)
            once = once or report(scenario, verdict.difference, *self.names)
        return self._explained(scenario, verdict)

    def _explained(self, scenario: Scenario, verdict: Verdict) -> Result:
        if self.shrinks:
            scenario = shrink(scenario, self._differs)
            again = compare(play(self.left, scenario), play(self.right, scenario), self.known)
            verdict = again if again.difference is not None else verdict
        assert verdict.difference is not None
        text = report(scenario, verdict.difference, *self.names) + "\n" + scenario.to_text()
        return Result(scenario, verdict, TRIES, text)

    def _differs(self, scenario: Scenario) -> bool:
        """Twice, so that a race is not taken for the difference."""
        return all(
            compare(play(self.left, scenario), play(self.right, scenario), self.known).difference is not None
            for _ in range(2)
        )


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    with two_brokers(options.left, options.right) as (left, right):
        names = version_of(left), version_of(right)
        print(f"left {' '.join(names[0])}, right {' '.join(names[1])}", flush=True)
        rabbits = [version for product, version in names if product == "RabbitMQ"]
        same = names[0] == names[1]
        match = Match(
            left, right, [] if same or not rabbits else known_for(rabbits[-1]), (names[0][0], names[1][0])
        )
        if same:
            match.names = ("first", "second")
        match.shrinks = not options.no_shrink
        scenarios = _scenarios(options, rabbits[-1] if rabbits else "4.3")
        started = time.monotonic()
        with ThreadPoolExecutor(options.workers) as pool:
            for result in pool.map(match.run, scenarios):
                match.results.append(result)
                if result.text or (result.once and options.unstable):
                    print(result.text or "(not every time) " + result.once, flush=True)
    return _summary(match, time.monotonic() - started)


def _scenarios(options: argparse.Namespace, version: str) -> list[Scenario]:
    if options.replay:
        return [Scenario.from_text(Path(path).read_text()) for path in options.replay]
    seeds = range(options.first, options.first + options.seeds)
    return [scenario_of(seed, options.length, version, options.only) for seed in seeds]


def _summary(match: Match, seconds: float) -> int:
    differing = [each for each in match.results if each.text]
    unstable = [each.scenario.name for each in match.results if not each.text and each.tries > 1]
    known = Counter(id for each in match.results for id in set(each.verdict.known))
    steps = sum(each.verdict.steps_compared for each in match.results)
    print(f"{len(match.results)} scenarios, {steps} steps compared, {seconds:.0f} s")
    print(f"differing: {len(differing)}" + "".join(f"\n  {each.scenario.name}" for each in differing))
    print(f"unstable: {len(unstable)} {' '.join(unstable)}")
    for id, count in known.most_common():
        print(f"known, {count} times: {id}")
    return 1 if differing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--left", default="leveret", help="leveret, rabbitmq or an amqp URL")
    parser.add_argument("--right", default="rabbitmq", help="the same")
    parser.add_argument("--seeds", type=int, default=150, help="how many scenarios")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--length", type=int, default=20, help="operations of a random walk")
    parser.add_argument("--only", choices=sorted(templates()), help="one kind of scenario")
    parser.add_argument("--workers", type=int, default=6, help="scenarios at once")
    parser.add_argument("--no-shrink", action="store_true", help="report differences as they were found")
    parser.add_argument(
        "--unstable", action="store_true", help="show differences that are not there each time"
    )
    parser.add_argument("--replay", nargs="*", help="files with scenarios")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
