from __future__ import annotations
import os, struct, zlib
from leveret.seams import Log
from leveret.store.disk import RealDisk
H = struct.Struct(">IIQQII")
class FileLog(Log):
    def __init__(self, disk: RealDisk, segment_bytes: int) -> None:
        self.root = disk.root + "/log"; os.makedirs(self.root, exist_ok=True)
        self.segment_bytes = segment_bytes; self.cur = -1; self.fd = -1; self.at = 0
        self.spares: list[str] = []
        self.zero = -1; self.zat = 0
    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        if segment != self.cur:
            if self.fd >= 0: os.close(self.fd)
            path = f"{self.root}/{segment:016x}.seg"
            if self.spares: os.rename(self.spares.pop(), path)
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600); self.cur = segment; self.at = 512
        n = 0; crc = 0
        for p in parts: n += len(p); crc = zlib.crc32(p, crc)
        head = H.pack(0x4c455645, n, seq, segment, flags, crc)
        bufs = [head, *parts]
        total = n + len(head)
        pad = -total % 64
        if pad: bufs.append(b"\0" * pad)
        if len(bufs) > 1000: bufs = [b"".join(bufs)]
        want = total + pad
        got = os.pwritev(self.fd, bufs, self.at, os.RWF_DSYNC)
        assert got == want, (got, want)
        self.at += want
    def prepare(self) -> bool:
        if len(self.spares) >= 2: return False
        path = f"{self.root}/spare{self.zat}"
        self.zat += 1
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        z = bytes(1 << 20)
        for i in range(self.segment_bytes >> 20): os.pwrite(fd, z, i << 20)
        os.fdatasync(fd); os.close(fd); self.spares.append(path)
        return True
    def segments(self) -> list[int]:
        return sorted(int(n[:16], 16) for n in os.listdir(self.root) if n.endswith(".seg"))
    def read(self, segment: int) -> list[tuple[int, int, bytes]]:
        out = []
        with open(f"{self.root}/{segment:016x}.seg", "rb") as f: d = f.read()
        at = 512
        while at + 32 <= len(d):
            m, n, seq, seg, flags, crc = H.unpack_from(d, at)
            if m != 0x4c455645 or seg != segment: break
            b = d[at + 32: at + 32 + n]
            if zlib.crc32(b) != crc: break
            out.append((seq, flags, b))
            at += 32 + n; at += -at % 64
        return out
    def trim(self, keep: int) -> None:
        for s in self.segments():
            if s < keep:
                if len(self.spares) < 3:
                    p = f"{self.root}/spare{self.zat}"; self.zat += 1
                    os.rename(f"{self.root}/{s:016x}.seg", p); self.spares.append(p)
                else: os.unlink(f"{self.root}/{s:016x}.seg")
    def close(self) -> None: pass
