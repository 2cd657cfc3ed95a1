from __future__ import annotations
from leveret.seams import Pages
class MemoryPages(Pages):
    def __init__(self) -> None: self.d: dict[tuple[int,int], bytes] = {}
    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None: self.d[(queue, base)] = b"".join(parts)
    def get(self, queue: int, base: int) -> bytes: return self.d[(queue, base)]
    def delete(self, queue: int, base: int) -> None: self.d.pop((queue, base), None)
    def delete_queue(self, queue: int) -> None:
        for k in [k for k in self.d if k[0]==queue]: del self.d[k]
    def list(self) -> list[tuple[int,int]]: return sorted(self.d)
