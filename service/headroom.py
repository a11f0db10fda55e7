"""How much longer than predicted a request may take and still be on time: learned from those that were late."""

import math
import threading

LEAST, MOST = 1.15, 1.6
"""Between these, however few or many were late."""

LATE_SHARE = 0.005
"""Of the requests that could be on time by their prediction, those that may be late: half of what a p99 leaves."""

STEP = 0.04
"""By how much one that was late raises it."""

FADE_S = 20.0
"""Seconds after which two thirds of what it was raised by are forgotten: one stall makes many late at once."""


class Headroom:
    """The factor on predictions at which hardly more than LATE_SHARE of the requests are late.

    Each late request raises it by STEP, each other one lowers it by so little that both are in balance where the share
    is as wanted (stochastic approximation of a quantile: Robbins and Monro, 1951). It fades too, so that it comes down
    whoever is admitted. Where predictions are good it stays at LEAST. It costs a shorter queue, and requests whose own
    time, so many times longer, is beyond their deadline. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._raised = 0.0
        self._at = -math.inf

    def ratio(self, now: float) -> float:
        """A request is admitted if it would be on time even with its prediction this many times longer.

        Args:
            now: the monotonic clock, in seconds.
        """
        return LEAST + self._raised * math.exp(min(0.0, self._at - now) / FADE_S)

    def observe(self, now: float, *, late: bool) -> None:
        """Learns from one that could be on time by its prediction."""
        change = STEP if late else -STEP * LATE_SHARE / (1.0 - LATE_SHARE)
        with self._lock:
            raised = self.ratio(now) - LEAST + change
            self._raised, self._at = min(max(raised, 0.0), MOST - LEAST), now
