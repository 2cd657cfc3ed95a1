"""What the programs that use one library share, and how they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.brokers import Usage, python_beside
from bench.main import LINES, chosen
from bench.programs import with_rate
from bench.sides.window import Window


def test_a_window_counts_what_is_done_between_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bench.sides.window.time.perf_counter", lambda: now[0])
    counted = Window(1.0, 2.0)
    assert counted.step(1000)
    now[0] = 101.5
    assert counted.step(64)
    assert counted.step(500)
    now[0] = 103.5
    assert not counted.step(64)
    assert counted.figures() == {"messages": 564, "seconds": 2.0}


def test_a_window_ends_when_there_is_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.sides.window.time.perf_counter", lambda: now[0])
    counted = Window(0.0, 9.0, 130)
    assert counted.step(64)
    now[0] = 0.5
    assert not counted.step(66)
    assert counted.figures() == {"messages": 66, "seconds": 0.5}


def test_a_window_that_never_opened_is_said() -> None:
    counted = Window(60.0, 1.0, 10)
    counted.step(10)
    with pytest.raises(SystemExit, match="before the window opened"):
        counted.figures()


def test_the_interpreter_beside_a_command_is_its_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("leveret", "python"):
        (tmp_path / name).touch(mode=0o755)
    assert python_beside(str(tmp_path / "leveret")) == str(tmp_path / "python")
    with pytest.raises(Usage, match="there is no python beside"):
        python_beside(str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    assert python_beside("./leveret") == str(tmp_path / "python"), "who runs it is elsewhere"


def test_rates_are_messages_by_seconds() -> None:
    assert with_rate({"messages": 30.0, "seconds": 2.0})["rate"] == 15.0
    assert "rate" not in with_rate({"p50_ms": 1.0})


def test_lines_have_names_of_their_own() -> None:
    names = [line.name for line in LINES]
    assert len(set(names)) == len(names)
    assert all(line.programs for line in chosen(["client-post", "worker-async", "import"]))
