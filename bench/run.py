"""`python bench/run.py --list | NAME... | all`: measure lines of the performance table. See README.md beside it."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(runpy.run_module("bench.main")["main"](sys.argv[1:]))
