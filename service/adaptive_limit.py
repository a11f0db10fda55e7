"""A limit on the backlog that falls when requests take longer than predicted, and rises again when they do not.

Predictions follow the machine within a quarter of a second of work. Until they have, and where something slows requests
down that they do not see, a shorter queue is what keeps deadlines.
"""

import threading

TOLERANCE = 2.0
"""Requests may take this many times their predicted time: those that overtake take half of the lanes' time at most."""

SMOOTHING = 0.1
"""Weight of one request in the mean ratio."""

LEAST_GRADIENT = 0.5
"""The limit falls to this share of itself at most, by one request."""

RISE = 0.02
"""Share of the largest limit by which one request that was in time raises it."""


class AdaptiveLimit:
    """A gradient limiter, as of Netflix's concurrency-limits (Gradient2), over predicted time instead of requests.

    Its gradient is tolerated / seen, of the ratio (time taken / time predicted). A ratio needs no baseline latency,
    which a service whose requests hold 1 to 1,000 products does not have. Safe to use from several threads.

    Args:
        least_s: lowest limit, in seconds of work for each lane.
        most_s: highest limit, and the first.
    """

    def __init__(self, least_s: float, most_s: float) -> None:
        self._lock = threading.Lock()
        self._least_s = min(least_s, most_s)
        self._most_s = most_s
        self._limit_s = most_s
        self._ratio = 1.0

    @property
    def limit_s(self) -> float:
        """Seconds of work for each lane that the backlog may hold."""
        return self._limit_s

    def observe(self, taken_s: float, predicted_s: float, *, finished: bool = True) -> None:
        """Learns from a request that was scored, or was given up after so many seconds and would have taken longer."""
        if predicted_s <= 0 or not (finished or taken_s > TOLERANCE * predicted_s):
            return
        with self._lock:
            # One stall of a whole second is one bad request, not a thousand.
            ratio = min(taken_s / predicted_s, 2 * TOLERANCE)
            self._ratio += SMOOTHING * (ratio - self._ratio)
            if self._ratio > TOLERANCE:
                changed_s = self._limit_s * max(LEAST_GRADIENT, TOLERANCE / self._ratio)
            else:
                changed_s = self._limit_s + RISE * self._most_s
            self._limit_s = min(max(changed_s, self._least_s), self._most_s)
