from __future__ import annotations
from pathlib import Path
class DirectoryLock:
    def __init__(self, p: Path) -> None: pass
    def acquire(self) -> None: pass
    def release(self) -> None: pass
