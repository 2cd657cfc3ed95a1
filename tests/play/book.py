"""What is known of every message, and the laws that whatever a broker holds has to obey.

A message that was published once is in one place: it waits, is with a consumer, or sleeps; it was settled; or a rule
of a queue that it was in let it go. The log is a prefix of what happened: after a crash it ends with one of a few
blocks, and all that was put down to a later one has not happened, all others have.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.play.kinds import Kind
from tests.play.messages import Copy

FOR_EVER = 1 << 62
UNKNOWN = -1
BEFORE = -2  # it was there when the process began


class Entry:
    """A message. position: in the log, 0 for what does not survive."""

    def __init__(self, n: int, position: int, now_ms: int, place: str) -> None:
        self.n = n
        self.count = 1  # queues that it was published to
        self.alone = True  # it never was in two places at once
        self.position = position
        self.born_ms = now_ms  # or due
        self.birth = place
        self.places = {place}  # where it may be, when nothing has happened since that was known
        self.expires_ms = FOR_EVER  # by its own word, in the first place
        self.failed_in: set[str] = set()
        self.dead_in: set[str] = set()  # rejected where that is the end
        self.gone: list[int] = []  # the block of each copy's settlement
        self.loose = False  # it may be gone for a reason that is not put down here
        self.transient = False
        self.fresh = True  # published in this life
        self.priority = 0
        self.key = ""
        self.unique_key = ""
        self.direct = True  # it went to the first place at once


class Book:
    def __init__(self, kinds: dict[str, Kind], cyclic: bool) -> None:
        self.kinds = kinds
        self.cyclic = cyclic
        self.entries: dict[int, Entry] = {}
        self.now_ms = 0

    def settled(self, n: int, block: int) -> None:
        self.entries[n].gone.append(block)

    # ---- where a message may be

    def may_leave(self, entry: Entry, place: str) -> bool:
        """Whether it may have been dead in that queue by now."""
        kind = self.kinds[place]
        if kind.drops or place in entry.dead_in or (kind.refused_go_on and not entry.direct):
            return True
        if kind.ttl_ms >= 0 and entry.born_ms + kind.ttl_ms <= self.now_ms:
            return True
        if entry.expires_ms <= self.now_ms:
            return True
        if kind.ends_failures() and place in entry.failed_in:
            return True
        return kind.retries and kind.timeout_ms > 0

    def may_be_in(self, entry: Entry) -> set[str]:
        found: set[str] = set()
        ahead = list(entry.places)
        while ahead:
            place = ahead.pop()
            if place in found:
                continue
            found.add(place)
            if place.startswith("~"):
                if entry.born_ms <= self.now_ms:
                    ahead.append(place.partition(" ")[2])
            elif self.kinds[place].to and self.may_leave(entry, place):
                ahead.append(self.kinds[place].to)
        return found

    def may_be_gone(self, entry: Entry) -> bool:
        """Whether a rule may have let it go."""
        if entry.loose:
            return True
        for place in self.may_be_in(entry):
            if not place.startswith("~"):
                kind = self.kinds[place]
                if (not kind.to or self.cyclic) and self.may_leave(entry, place):
                    return True
        return False

    # ---- the laws

    def wrong(self, found: Iterable[Copy], last: int, crashed: bool) -> list[str]:
        """What contradicts the log ending with block `last`. crashed: what does not survive is gone."""
        counts: dict[int, int] = {}
        told: list[str] = []
        for copy in found:
            counts[copy.n] = counts.get(copy.n, 0) + 1
            entry = self.entries.get(copy.n)
            if entry is None:
                told.append(f"{copy.n} in {copy.where} was never published")
            elif copy.where not in {p.partition(" ")[0] for p in self.may_be_in(entry)}:
                told.append(
                    f"{copy.n} is in {copy.where} and may be in {self.may_be_in(entry)}: {vars(entry)}"
                )
        for n, entry in self.entries.items():
            there = counts.get(n, 0)
            most = entry.count - sum(block <= last for block in entry.gone)
            least = most
            if entry.position == UNKNOWN:
                least = 0
            elif crashed and (entry.transient or entry.position == 0):
                most = least = 0
            elif crashed and entry.position > last:
                least = 0  # where it went may be in the log before what it was published with
                if len(self.may_be_in(entry)) == 1:
                    most = 0
            if least > 0 and self.may_be_gone(entry):
                least = 0
            if there > most:
                told.append(f"{n} is there {there} times, not {most}: {where(found, n)} {vars(entry)}")
            if there < least:
                told.append(f"{n} is there {there} times, not {least}: {where(found, n)} {vars(entry)}")
        return told

    def restarted(self, found: Iterable[Copy]) -> None:
        """What was found is all there is from now on."""
        counts: dict[int, list[str]] = {}
        for copy in found:
            counts.setdefault(copy.n, []).append(copy.where)
        for n in list(self.entries):
            entry = self.entries[n]
            if n not in counts:
                del self.entries[n]
                continue
            entry.count = len(counts[n])
            entry.position = BEFORE
            entry.gone = []
            entry.fresh = False
            before = {p.partition(" ")[0]: p for p in entry.places}
            entry.places = {before.get(p, p) for p in counts[n]}


def where(found: Iterable[Copy], n: int) -> str:
    return ", ".join(
        f"{c.where} lane {int(c.lane.lid) >> 40} seq {c.seq} state {c.state}" for c in found if c.n == n
    )
