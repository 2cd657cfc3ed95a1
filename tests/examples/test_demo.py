"""The demo, small, with a real broker: it passes, leaves nothing behind, and fails when something is missing."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Image = pytest.importorskip("PIL.Image", reason="examples/demo/requirements.txt is not installed")

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"
TIMEOUT_S = 120


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with `folder` for its temporary files."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, str(DEMO / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)


def row(output: str, name: str) -> dict[str, int]:
    """The numbers of a line of the closing table."""
    found = re.search(rf"^{re.escape(name)} +(\d+) +(\d+) +(\d+) +(\d+) ", output, re.MULTILINE)
    assert found, output
    return dict(zip(("messages", "redelivered", "duplicates", "lost"), map(int, found.groups()), strict=True))


def pids(output: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"\bpid (\d+)", output)]


def test_a_worker_and_the_broker_are_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--count", "18", "--size", "2400")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything held" in done.stdout
    assert "killed the broker" in done.stdout
    assert "in the middle of photo-" in done.stdout
    for name in ("jobs sent", "jobs taken", "images resized", "-> gallery", "-> audit", "-> cron"):
        found = row(done.stdout, name)
        assert (found["messages"], found["lost"]) == (18, 0)
    assert row(done.stdout, "-> portraits")["messages"] == 6
    assert row(done.stdout, "jobs taken")["redelivered"] >= 1
    assert list(tmp_path.iterdir()) == []
    assert (
        len(pids(done.stdout)) >= 7
    )  # four workers and the broker twice; those that were killed are named again
    assert [pid for pid in pids(done.stdout) if _is_ours(pid)] == []


def _is_ours(pid: int) -> bool:
    """Whether the process still runs. Another may have its number by now, but not with our command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"examples.demo" in command or b"leveret" in command


def test_own_images_are_read_only_and_unreadable_ones_are_done_with(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for number in range(4):
        Image.new("RGB", (300, 200 + 100 * number), "teal").save(own / f"{number}.png")
    (own / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (own / "notes.txt").write_text("not an image, and not meant to be one")
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    work = tmp_path / "work"
    work.mkdir()

    done = run_demo(work, "--images", str(own), "--no-kill", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    (kept,) = work.iterdir()
    assert sorted(path.name for path in (kept / "resized").iterdir()) == [f"{n}.png.jpg" for n in range(4)]
    assert row(done.stdout, "-> audit")["messages"] == 5
    assert row(done.stdout, "-> gallery")["messages"] == 4
    assert row(done.stdout, "-> portraits")["messages"] == 2  # 300 x 400 and 300 x 500
    assert row(done.stdout, "jobs taken")["redelivered"] == 0


@pytest.mark.parametrize(
    "arguments", [["--count", "3"], ["--images", "/nowhere"], ["--count", "0", "--no-kill"]]
)
def test_what_cannot_work_is_said_at_once(tmp_path: Path, arguments: list[str]) -> None:
    done = run_demo(tmp_path, *arguments)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_not_there_fails_the_demo(tmp_path: Path) -> None:
    # Port 1 (tcpmux) is privileged and free everywhere.
    done = run_demo(
        tmp_path, "--no-kill", "--count", "1", "--broker-url", "amqp://guest:guest@127.0.0.1:1/%2F"
    )
    assert done.returncode == 1
    assert "the demo ended early" in done.stderr
    assert list(tmp_path.iterdir()) == []


# ---- the judgement: a story in which all is well, and what each thing that goes wrong does to it


@pytest.fixture
def demo() -> Callable[[str], Any]:
    """Imports a module of the demo: only when it is asked for, since they need what may not be installed."""
    return lambda name: importlib.import_module(f"examples.demo.{name}")


def a_good_story(tally: Any) -> tuple[Any, Any]:
    """Three images, the last in portrait; worker-1 is killed with `a` in hand; the broker is killed after `b`."""
    told = tally.Tally(3)
    told.hear("worker-1", {"event": "taken", "id": "a", "redelivered": False, "waited_ms": 1.0})
    for number, id in enumerate("abc"):
        worker = f"worker-{number + 2}"
        told.hear("producer", {"event": "sent", "id": id, "ms": 1.0})
        told.hear(worker, {"event": "taken", "id": id, "redelivered": id == "a", "waited_ms": 1.0})
        told.hear(worker, {"event": "written", "id": id, "ms": 1.0, "state": "resized"})
        told.hear(worker, {"event": "announced", "id": id})
        got = {"id": id, "redelivered": False, "ms": 1.0}
        for subscription in ("gallery", "audit", *(["portraits"] if id == "c" else [])):
            told.hear("subscriber", {"event": "got", "subscription": subscription, **got})
        told.hear("cron", {"event": "pulled", **got})
    outcome = tally.Outcome(
        results={"a": "landscape", "b": "landscape", "c": "portrait"},
        waiting={"jobs": 0},
        exit_codes={"producer": 0, "worker-2": 0, "broker": 0},
        killed_job="a",
        killed_workers={"worker-1"},
        consumers_wanted={"jobs": 3},
        consumers={"jobs": 3},
        confirmed_at_kill=frozenset("ab"),
        broker_killed=True,
    )
    return told, outcome


def failures(tally: Any, told: Any, outcome: Any) -> list[str]:
    return [e.text for e in tally.judge(told, outcome, kill=True, kill_broker=True) if not e.met]


def test_a_good_story_meets_all_expectations(demo: Callable[[str], Any]) -> None:
    tally = demo("tally")
    assert failures(tally, *a_good_story(tally)) == []


@pytest.mark.parametrize(
    ("damage", "expectation"),
    [
        (lambda told, outcome: outcome.results.pop("b"), "nothing confirmed was lost"),
        (lambda told, outcome: told.sent.ids.discard("c"), "each image was sent and confirmed"),
        (lambda told, outcome: outcome.broken_results.append("a"), "each result is a complete image"),
        (lambda told, outcome: told.received["gallery"].ids.discard("a"), "gallery got each resized image"),
        (lambda told, outcome: told.received["audit"].ids.discard("a"), "audit got each finished image"),
        (lambda told, outcome: told.received["report"].ids.discard("a"), "report got each finished image"),
        (
            lambda told, outcome: told.received["portraits"].ids.add("a"),
            "portraits got each portrait and nothing",
        ),
        (lambda told, outcome: told.received["portraits"].ids.discard("c"), "portraits got each portrait"),
        (lambda told, outcome: outcome.waiting.update(jobs=1), "every queue is empty"),
        (lambda told, outcome: outcome.waiting.clear(), "every queue is empty"),
        (lambda told, outcome: told.jobs_by_worker.clear(), "the workers shared the jobs"),
        (lambda told, outcome: outcome.exit_codes.update(broker=1), "everybody left in good order"),
        (lambda told, outcome: told.redelivered_jobs.clear(), "the job of the killed worker came again"),
        (lambda told, outcome: setattr(outcome, "killed_job", ""), "the job of the killed worker came again"),
        (
            lambda told, outcome: setattr(outcome, "broker_killed", False),
            "the broker was killed and came back",
        ),
        (
            lambda told, outcome: setattr(outcome, "confirmed_at_kill", frozenset("abc")),
            "jobs were confirmed after the restart",
        ),
        (lambda told, outcome: outcome.consumers.update(jobs=2), "all consumers found back"),
        (lambda told, outcome: outcome.consumers.clear(), "all consumers found back"),
        (lambda told, outcome: setattr(outcome, "stalled", "for long"), "everything came to its end"),
    ],
)
def test_what_is_missing_is_named(
    demo: Callable[[str], Any], damage: Callable[[Any, Any], object], expectation: str
) -> None:
    tally = demo("tally")
    told, outcome = a_good_story(tally)
    damage(told, outcome)
    failed = failures(tally, told, outcome)
    assert any(text.startswith(expectation) for text in failed), failed


def test_redelivery_without_a_reason_is_a_failure(demo: Callable[[str], Any]) -> None:
    tally = demo("tally")
    told, outcome = a_good_story(tally)
    failed = [e.text for e in tally.judge(told, outcome, kill=False, kill_broker=False) if not e.met]
    assert failed == ["nobody was killed: nothing was redelivered"]
