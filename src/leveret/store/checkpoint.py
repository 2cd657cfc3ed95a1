"""A checkpoint's records, gathered from whoever has the state. Where and when one is written is the journal's business."""

from __future__ import annotations

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be

from leveret.journal import StateSink
from leveret.native import i16, i32, i64
from leveret.store.records import BEGIN, END, FACT, LANE, NOTE, STORED, TOPOLOGY


class Checkpoint(StateSink):
    """Collects a checkpoint's records."""

    def __init__(self) -> None:
        self.writer = BytesWriter()

    def header(self, kind: i64, n: i64, length: i64) -> BytesWriter:
        w = self.writer
        w.append(kind)
        w.append(0)
        write_i16_be(w, i16(n))
        write_i32_be(w, i32(length))
        return w

    def begin(self, keep_from: i64) -> None:
        write_i64_be(self.header(BEGIN, 0, 8), keep_from)

    def topology(self, op: bytes) -> None:
        self.header(TOPOLOGY, 0, len(op)).write(op)

    def lane(self, lane: i64, next_seq: i64, below: i64) -> None:
        w = self.header(LANE, 0, 24)
        write_i64_be(w, lane)
        write_i64_be(w, next_seq)
        write_i64_be(w, below)

    def stored(self, lane: i64, base: i64, entry: bytes) -> None:
        w = self.header(STORED, 0, 16 + i64(len(entry)))
        write_i64_be(w, lane)
        write_i64_be(w, base)
        w.write(entry)

    def note(self, lane: i64, seq: i64, note: bytes) -> None:
        w = self.header(NOTE, 0, 16 + i64(len(note)))
        write_i64_be(w, lane)
        write_i64_be(w, seq)
        w.write(note)

    def fact(self, lane: i64, fact: bytes) -> None:
        w = self.header(FACT, 0, 8 + i64(len(fact)))
        write_i64_be(w, lane)
        w.write(fact)

    def end(self) -> bytes:
        self.header(END, 0, 0)
        return self.writer.getvalue()
