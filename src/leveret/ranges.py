"""Sets of whole numbers as sorted ranges: what of a lane is settled, which sequence numbers are on pages."""

from __future__ import annotations

from leveret.native import i64


class Ranges:
    """A set of whole numbers as sorted ranges. Adding at the end is what it is quick at."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.at: i64 = 0  # where the last look-up was

    def add(self, first: i64, last: i64) -> None:
        firsts = self.firsts
        lasts = self.lasts
        n: i64 = len(lasts)
        if n == 0 or first > i64(lasts[n - 1]) + 1:
            firsts.append(first)
            lasts.append(last)
            return
        i = self._index(first - 1)  # the first range that ends at or behind first - 1
        if i < n and i64(firsts[i]) <= last + 1:
            stop = i
            while stop + 1 < n and i64(firsts[stop + 1]) <= last + 1:
                stop += 1
            low = min(first, i64(firsts[i]))
            high = max(last, i64(lasts[stop]))
            firsts[i] = low
            lasts[i] = high
            if stop > i:
                del firsts[i + 1 : stop + 1]
                del lasts[i + 1 : stop + 1]
        else:
            firsts.insert(i, first)
            lasts.insert(i, last)

    def _index(self, value: i64) -> i64:
        lasts = self.lasts
        low: i64 = 0
        high: i64 = len(lasts)
        while low < high:
            mid = (low + high) // 2
            if i64(lasts[mid]) < value:
                low = mid + 1
            else:
                high = mid
        return low

    def has(self, value: i64) -> bool:
        lasts = self.lasts
        n: i64 = len(lasts)
        i = self.at
        if i > n or (i > 0 and i64(lasts[i - 1]) >= value):
            i = self._index(value)
        else:
            while i < n and i64(lasts[i]) < value:
                i += 1
        self.at = i
        return i < n and i64(self.firsts[i]) <= value

    def end(self) -> i64:
        """One more than the greatest member, 0 if there is none."""
        n: i64 = len(self.lasts)
        return 0 if n == 0 else i64(self.lasts[n - 1]) + 1

    def overlaps(self, first: i64, last: i64) -> bool:
        i = self._index(first)
        return i < i64(len(self.lasts)) and i64(self.firsts[i]) <= last
