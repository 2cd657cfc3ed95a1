from __future__ import annotations
import os
class RealDisk:
    def __init__(self, root: str) -> None:
        self.root = root
