"""What all examples share: tables, progress, waiting, and processes that are started and ended."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any

import pytest

from examples.common import report
from examples.common.children import Child, python
from examples.common.report import Expectation
from examples.common.waiting import Stalled, Watch


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, 0.0),
        ([7.0], 99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert report.percentile(values, percent) == expected


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    made = report.table(("name", "n", "of"), [("long name", "1", "x"), ("b", "1000", "y")], left=(0, 2))
    assert made.splitlines() == ["name          n  of", "long name     1  x", "b          1000  y"]


@pytest.mark.parametrize(
    ("values", "width", "top", "expected"),
    [
        ([], 5, 0, ""),
        ([0, 0], 5, 0, "  "),
        ([0, 1, 4, 8], 5, 0, " ▁▄█"),
        ([8, 8, 1], 2, 0, "█▁"),
        ([4, 4], 5, 8, "▄▄"),
        ([9, 1], 5, 8, "█▁"),
    ],
)
def test_sparkline(values: list[float], width: int, top: float, expected: str) -> None:
    assert report.sparkline(values, width, top) == expected


@pytest.mark.parametrize(
    ("part", "total", "full"), [(0, 10, 0), (5, 10, 10), (10, 10, 20), (0, 0, 20), (30, 10, 20)]
)
def test_bar(part: int, total: int, full: int) -> None:
    assert report.bar(part, total) == "[" + "#" * full + "." * (20 - full) + "]"


def test_the_verdict_tells_what_was_found_instead() -> None:
    good, bad = Expectation("water is wet", True), Expectation("fire is cold", False, "it burns")
    assert report.verdict([good]).splitlines() == ["ok      water is wet", "", "everything held"]
    assert report.verdict([good, bad]).splitlines() == [
        "ok      water is wet", "FAILED  fire is cold: it burns", "", "1 of 2 expectations FAILED",
    ]  # fmt: skip
    assert report.all_met([good])
    assert not report.all_met([good, bad])
    assert not report.all_met([]), "nothing was looked at"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_a_status_is_overwritten() -> None:
    progress = report.Progress(Terminal())
    progress.status("one", "two")
    progress.say("something happened")
    progress.finish()
    written = progress.stream.getvalue()  # type: ignore[attr-defined]
    assert written.startswith("one\ntwo\r\x1b[1A\x1b[J")
    assert "something happened\none\ntwo" in written
    assert written.endswith("\r\x1b[1A\x1b[J")


def test_elsewhere_there_are_plain_lines() -> None:
    progress = report.Progress(io.StringIO())
    progress.say("something happened")
    assert "\x1b" not in progress.stream.getvalue()  # type: ignore[attr-defined]


def test_waiting_ends_when_it_becomes_true() -> None:
    async def story() -> list[int]:
        watch, seen = Watch(), list[int]()
        waiting = asyncio.create_task(watch.until(lambda: len(seen) >= 2, "two"))
        for number in range(2):
            await asyncio.sleep(0)
            seen.append(number)
            watch.touch()
        await waiting
        return seen

    assert asyncio.run(story()) == [0, 1]


def test_waiting_without_progress_ends_with_what_was_waited_for() -> None:
    async def story() -> None:
        watch = Watch(stalled_s=0.0)
        watch.touch(progress=False)
        await watch.until(lambda: False, "Godot")

    with pytest.raises(Stalled, match="Godot"):
        asyncio.run(story())


def code(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_child_is_heard_line_by_line_and_its_other_words_are_kept() -> None:
    async def story() -> tuple[list[dict[str, Any]], list[str], int]:
        heard: list[dict[str, Any]] = []
        text = 'import os; print(\'{"event": "hello", "mark": "%s"}\' % os.environ[\'MARK\']); print(\'[1]\'); 1 / 0'
        child = await Child.start("child", code(text), lambda _, event: heard.append(event), {"MARK": "x"})
        exit_code = await child.ended()
        return heard, child.words, exit_code

    heard, words, exit_code = asyncio.run(story())
    assert heard == [{"event": "hello", "mark": "x"}]
    assert words[0] == "[1]"
    assert words[-1] == "ZeroDivisionError: division by zero"
    assert exit_code == 1


READY = 'import time; print(\'{"event": "ready"}\', flush=True); time.sleep(600)'


async def ready_child(text: str) -> Child:
    ready = asyncio.Event()
    child = await Child.start("child", code(text), lambda *_: ready.set())
    await asyncio.wait_for(ready.wait(), 30)
    return child


def test_children_are_stopped_and_killed() -> None:
    async def story() -> list[int | None]:
        stopped, killed = await asyncio.gather(ready_child(READY), ready_child(READY))
        await asyncio.gather(stopped.stop(), killed.kill())
        await asyncio.gather(stopped.stop(), killed.kill())  # a second time changes nothing
        return [stopped.exit_code, killed.exit_code]

    assert asyncio.run(story()) == [-15, -9]


def test_children_see_the_examples_wherever_they_are_started(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def story() -> int:
        child = await Child.start("child", python("examples.common.report"))
        return await child.ended()

    assert asyncio.run(story()) == 0
