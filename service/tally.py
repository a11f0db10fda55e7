"""Sums of rows of numbers, added up when they are looked at."""

from collections import deque
from collections.abc import Sequence
from threading import Lock

ADD_UP_AT = 256
"""Rows that wait at which they are added up."""


class Tally:
    """One sum for each column. Safe to use from several threads; adding a row waits for no other.

    Args:
        columns: numbers of a row.
    """

    def __init__(self, columns: int) -> None:
        self._sums = [0] * columns
        self._rows: deque[Sequence[int]] = deque()
        self._lock = Lock()

    def add(self, row: Sequence[int]) -> None:
        """Takes a row."""
        self._rows.append(row)
        if len(self._rows) >= ADD_UP_AT:
            self.sums()

    def sums(self) -> list[int]:
        """Of every row so far, by column."""
        with self._lock:
            for _ in range(len(self._rows)):
                self._sums = [old + new for old, new in zip(self._sums, self._rows.popleft(), strict=True)]
            return self._sums
