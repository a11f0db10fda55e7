"""How much longer than predicted a request may take and still be on time: learned from those that were late."""

import threading

LEAST, MOST = 1.15, 2.0
"""Between these, however few or many were late."""

LATE_SHARE = 0.005
"""Of the requests that were promised to be on time, those that may be late: half of what a p99 leaves."""

STEP = 0.02
"""By how much one that was late raises it."""


class Headroom:
    """The factor on predictions at which LATE_SHARE of the requests are late, found by stochastic approximation.

    Each late request raises it by STEP, each other one lowers it by so little that both are in balance where the share
    is as wanted (Robbins and Monro, 1951, for a quantile). Where predictions are good it stays at LEAST. A shorter
    queue is all that it costs: the lanes have work as before. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ratio = LEAST

    @property
    def ratio(self) -> float:
        """A request is admitted if it would be on time even with its prediction this many times longer."""
        return self._ratio

    def observe(self, *, late: bool) -> None:
        """Learns from one that was promised to be on time."""
        change = STEP if late else -STEP * LATE_SHARE / (1.0 - LATE_SHARE)
        with self._lock:
            self._ratio = min(max(self._ratio + change, LEAST), MOST)
