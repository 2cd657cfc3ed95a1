from __future__ import annotations
import os
from leveret.seams import Pages
from leveret.store.disk import RealDisk
class FilePages(Pages):
    def __init__(self, disk: RealDisk) -> None:
        self.root = disk.root + "/pages"; os.makedirs(self.root, exist_ok=True)
    def p(self, q: int, b: int) -> str: return f"{self.root}/{q:016x}/{b:016x}.page"
    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        os.makedirs(f"{self.root}/{queue:016x}", exist_ok=True)
        fd = os.open(self.p(queue, base), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"".join(parts))
        if sync: os.fdatasync(fd)
        os.close(fd)
    def get(self, queue: int, base: int) -> bytes:
        with open(self.p(queue, base), "rb") as f: return f.read()
    def delete(self, queue: int, base: int) -> None:
        try: os.unlink(self.p(queue, base))
        except FileNotFoundError: pass
    def delete_queue(self, queue: int) -> None:
        d = f"{self.root}/{queue:016x}"
        if os.path.isdir(d):
            for n in os.listdir(d): os.unlink(d + "/" + n)
            os.rmdir(d)
    def list(self) -> list[tuple[int, int]]:
        return [(int(q, 16), int(n[:16], 16)) for q in os.listdir(self.root) for n in os.listdir(f"{self.root}/{q}")]
