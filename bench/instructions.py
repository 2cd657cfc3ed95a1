"""Instructions a message, counted by callgrind over the way without sockets, held by a ratchet: instructions.json.

    python bench/instructions.py --python PYTHON            count that interpreter's Leveret, compare with the file
    python bench/instructions.py --python PYTHON --write    make what was counted the committed figures

Two runs of a driver (sansio.py, and sansio_client.py for the client) that differ only in the number of messages are
counted; the difference is what the messages cost, and start-up falls out of it. The count is nearly the same on every
machine with the same Python and compiler, so a change that makes it more than 5 % worse fails, unless it changes the
figures in the same commit. One that makes it 5 % better is told to write the new figures down.

Standard library only, and nothing of Leveret: it runs the driver with the interpreter it is told.
Exit codes: 0; 1 worse; 2 could not be counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
COMMITTED: Final = ROOT / "bench" / "instructions.json"
SCENARIOS: Final = (
    "transient",
    "transient-celery",
    "durable",
    "durable-celery",
    "durable-ttl",
    "durable-priorities",
    "durable-groups",
    "durable-delay",
    "durable-maxlen",
    "durable-dead",
    "stomp",
    "stomp-transient",
    "client-post",
    "client-publish",
    "client-consume",
)
FEW: Final = 4_000
MANY: Final = 24_000
WORSE_PERCENT: Final = 5
CLIENT: Final = "client-"
# What the client has written grows in one block. Whether a block that grows has to be copied hangs on what is behind it on
# the heap, which any import moves: a tenth of its count. One of this size is mapped, and the kernel moves its pages.
MMAP_BYTES: Final = "16384"


class NotCounted(Exception):
    """Callgrind or the driver failed; the text says how."""


def total(profile: str) -> int:
    """The instructions of a callgrind output file: of all its parts together."""
    found = re.findall(r"^(?:summary|totals): (\d+)", profile, re.MULTILINE)
    if not found:
        raise NotCounted("the profile of callgrind has no summary")
    return max(int(each) for each in found)


def driver_of(scenario: str, driver: str) -> str:
    """The client's scenarios have a driver of their own."""
    return f"{driver}_client" if scenario.startswith(CLIENT) else driver


def count(python: str, driver: str, scenario: str, messages: int, profile: Path) -> int:
    """All instructions of one run of the driver."""
    words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", python, "-m", driver]
    words += [scenario, str(messages)]
    # No hash seed, no byte code to write, no user's site: nothing that differs from run to run.
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }
    if scenario.startswith(CLIENT):
        environment["MALLOC_MMAP_THRESHOLD_"] = MMAP_BYTES
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise NotCounted(f"{' '.join(words)}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")
    return total(profile.read_text(errors="replace"))


def measure(python: str, driver: str, scenarios: Sequence[str]) -> dict[str, int]:
    """Instructions a message of each scenario. Two runs at a time."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as directory, ThreadPoolExecutor(2) as pool:
        runs = {
            (scenario, n): pool.submit(
                count, python, driver_of(scenario, driver), scenario, n, Path(directory) / f"{scenario}.{n}"
            )
            for scenario in scenarios
            for n in (FEW, MANY)
        }
        counted = {key: run.result() for key, run in runs.items()}
    return {s: round((counted[s, MANY] - counted[s, FEW]) / (MANY - FEW)) for s in scenarios}


def build_of(python: str, driver: str) -> str:
    """What is counted: "compiled" or "pure"."""
    words = [python, "-m", driver, "compiled"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode != 0:
        raise NotCounted(f"{' '.join(words)}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def compare(counted: dict[str, int], committed: dict[str, int]) -> tuple[list[str], bool]:
    """A line for each scenario, and whether any is too much worse."""
    lines, worse = [], False
    for scenario, value in counted.items():
        before = committed.get(scenario)
        if before is None:
            lines.append(f"{scenario:<18} {value:>8,}  no committed figure: run with --write")
            worse = True
            continue
        change = value / before - 1
        said = ""
        if value * 100 > before * (100 + WORSE_PERCENT):
            said = f"  more than {WORSE_PERCENT} % worse: make it better, or change the figure in the same commit"
            worse = True
        elif value * 100 < before * (100 - WORSE_PERCENT):
            said = "  better: write it down with --write"
        lines.append(f"{scenario:<18} {value:>8,}  committed {before:>8,}  {change:+.1%}{said}")
    return lines, worse


def main(argv: Sequence[str]) -> int:
    p = argparse.ArgumentParser(prog="bench/instructions.py", description="Count instructions a message.")
    p.add_argument(
        "--python",
        default=sys.executable,
        help="the interpreter whose Leveret is counted (default: this one)",
    )
    p.add_argument(
        "--driver",
        default="bench.sansio",
        help="the module that is run: SCENARIO MESSAGES; with _client behind its name for the client's scenarios",
    )
    p.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; may be repeated")
    p.add_argument("--write", action="store_true", help="make what is counted the committed figures")
    arguments = p.parse_args(argv)
    python = os.path.abspath(arguments.python) if os.sep in arguments.python else arguments.python
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: apt-get install valgrind", file=sys.stderr)
        return 2
    try:
        build = build_of(python, arguments.driver)
        counted = measure(python, arguments.driver, arguments.scenario or SCENARIOS)
    except NotCounted as error:
        print(f"not counted: {error}", file=sys.stderr)
        return 2
    figures: dict[str, dict[str, int]] = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    if arguments.write:
        figures[build] = {**figures.get(build, {}), **counted}
        COMMITTED.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    lines, worse = compare(counted, figures.get(build, {}))
    print(f"instructions a message, {build}:")
    print("\n".join(lines))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
