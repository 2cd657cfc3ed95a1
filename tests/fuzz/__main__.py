"""python -m tests.fuzz --seconds N --target NAME: feed a protocol rubbish for so long, coverage-guided where atheris is
there.

Without atheris (`pip install atheris`) valid inputs are spoilt at random, from a seed that is printed. An input that
breaks something is left in a file which the last line names; `--input FILE` plays it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--target", choices=sorted(TARGETS), default="amqp091")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--corpus", type=Path, default=None, help="folder in which what was found is kept")
    parser.add_argument("--input", type=Path, default=None, help="play one input again")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]
    if arguments.input is not None:
        target.one_input(arguments.input.read_bytes())
        print("nothing is wrong with it")
        return 0
    seed = random.randrange(1 << 31) if arguments.seed is None else arguments.seed
    if importlib.util.find_spec("atheris") is None:
        print(f"without atheris, at random: seed {seed}", flush=True)
        return at_random(target, arguments.seconds, seed)
    print(f"with atheris: seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = arguments.corpus or Path(temporary)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(each)
        # libFuzzer ends the process when the time is over, hence one of its own
        options = [
            f"-max_total_time={arguments.seconds}",
            f"-seed={seed}",
            f"-artifact_prefix=crash-{target.name}-",
        ]
        options += [f"-max_len={target.largest_bytes}", "-timeout=20", "-print_final_stats=1"]
        return subprocess.call(
            [sys.executable, "-m", "tests.fuzz.guided", target.name, *options, str(corpus)]
        )


def at_random(target: Target, seconds: int, seed: int) -> int:
    dice = random.Random(seed)
    found = target.seeds()
    deadline = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < deadline:
        data = spoilt(dice, dice.choice(found), dice.choice(found))
        try:
            target.one_input(data)
        except BaseException:
            path = Path(f"crash-{target.name}-{seed}-{tried}")
            path.write_bytes(data)
            print(f"input {tried} breaks something: {path}", flush=True)
            raise
        tried += 1
    print(f"{tried} inputs, nothing broken")
    return 0


def spoilt(dice: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at, much = dice.randrange(len(changed)), dice.choice((1, 1, 2, 4, 8, 30))
        what = dice.randrange(6)
        if what == 0:
            changed[at] = dice.choice((0, 1, 2, 0x7F, 0x80, 0xCE, 0xFF, dice.randrange(256)))
        elif what == 1:
            changed[at] ^= 1 << dice.randrange(8)
        elif what == 2:
            changed[at:at] = dice.randbytes(much)
        elif what == 3 and len(changed) > much + 1:
            del changed[at : at + much]
        elif what == 4:
            changed[at:at] = changed[at : at + much * 4]
        else:
            begin = dice.randrange(len(other))
            changed[at:at] = other[begin : begin + much * 8]
        if not changed:
            changed.append(dice.randrange(256))
    return bytes(changed)


if __name__ == "__main__":
    sys.exit(main())
