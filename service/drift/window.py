"""The last hour of one model's signals, say: a ring of parts, each emptied when its turn comes again."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from artifact.distribution import Distribution, distribution_of, no_sums, request_sums

PARTS = 12


class SlidingWindow:
    """Counts of the last `window_s` seconds, in a few kilobytes whatever the traffic. Safe to use from several threads.

    It slides by a twelfth of its length: what it holds is between 11 twelfths and the whole of it.

    Args:
        edges: of each signal's bins.
        window_s: length in seconds.
    """

    def __init__(self, edges: Mapping[str, Sequence[float]], window_s: float) -> None:
        self._edges = edges
        self._part_s = window_s / PARTS
        self._sums = {signal: np.stack([no_sums(each)] * PARTS) for signal, each in edges.items()}
        self._products = np.zeros(PARTS)
        # Which stretch of time each part holds.
        self._turns = np.full(PARTS, -PARTS, dtype=np.int64)
        self._lock = threading.Lock()

    def add(self, now_s: float, products: int, values: Mapping[str, ArrayLike]) -> None:
        """Counts one request.

        Args:
            now_s: on the monotonic clock.
            products: that were scored.
            values: of its inputs, by signal; signals that the window does not know are passed over.
        """
        added = {
            signal: request_sums(each, self._edges[signal]) for signal, each in values.items() if signal in self._edges
        }
        turn = int(now_s // self._part_s)
        part = turn % PARTS
        with self._lock:
            if turn > self._turns[part]:
                self._turns[part] = turn
                self._products[part] = 0
                for sums in self._sums.values():
                    sums[part] = 0
            self._products[part] += products
            for signal, sums in added.items():
                self._sums[signal][part] += sums

    def products(self, now_s: float) -> int:
        """How many scored products it holds."""
        with self._lock:
            return int(self._products[self._current(now_s)].sum())

    def distributions(self, now_s: float) -> dict[str, Distribution]:
        """Of every signal that has inputs."""
        with self._lock:
            current = self._current(now_s)
            totals = {signal: sums[current].sum(axis=0) for signal, sums in self._sums.items()}
        found = {signal: distribution_of(sums, self._edges[signal]) for signal, sums in totals.items()}
        return {signal: each for signal, each in found.items() if each is not None}

    def _current(self, now_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(self._turns > int(now_s // self._part_s) - PARTS)
