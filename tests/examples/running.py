"""Runs an example as a reader would, in a process of its own, and looks at what it leaves behind.

Processes of one run are known by a variable of their environment, which all of them inherit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TIMEOUT_S: Final = 120
MARK: Final = "EXAMPLE_RUN"


@dataclass(frozen=True)
class Ended:
    """`plots` are the files that it wrote where it was told to; `left` what else is in the temporary folder."""

    code: int
    output: str
    errors: str
    plots: list[str]
    left: list[str]
    processes: list[str]

    @property
    def everything(self) -> str:
        return self.output + self.errors


def run_example(name: str, folder: Path, *arguments: str) -> Ended:
    """Run `examples/NAME/run.py` with `folder` for its temporary files and its plots."""
    temporary, out = folder / "temporary", folder / "out"
    temporary.mkdir()
    mark = uuid.uuid4().hex
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        MARK: mark,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    command = [sys.executable, str(ROOT / "examples" / name / "run.py"), "--out", str(out), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, cwd=folder, check=False
    )
    return Ended(
        done.returncode,
        done.stdout,
        done.stderr,
        sorted(path.name for path in out.iterdir()) if out.exists() else [],
        sorted(path.name for path in temporary.iterdir()),
        marked(mark),
    )


def marked(mark: str) -> list[str]:
    """Command lines of processes that still run and were started, by whatever way, in the run of this mark."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it ended meanwhile, or is not ours
    return found


def assert_held(ended: Ended, *plots: str) -> None:
    """It ended well, with these plots, each as PNG and SVG, and nothing is left of it."""
    assert ended.code == 0, ended.everything
    assert "everything held" in ended.output
    assert ended.plots == sorted(f"{plot}.{kind}" for plot in plots for kind in ("png", "svg"))
    assert ended.left == []
    assert ended.processes == []
