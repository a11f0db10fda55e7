"""Refuses requests before their bodies are parsed, while there is too much work: a refusal should cost little."""

from collections.abc import Callable

from .backlog import Backlog
from .job import Job

STRICT_FOR_S = 1.0
"""So long after a refusal, the next requests are looked at early."""

WINDOW = 256
"""Requests of which the cheapest counts, and up to as many before them."""


class LeastCost:
    """The fewest lane-seconds per byte of body among recent requests.

    Whatever traffic is made of, a new request is hardly cheaper. Where some cost nothing, since all their scores are
    known, the least is nothing.
    """

    def __init__(self) -> None:
        self._before = self._now = float("inf")
        self._seen = 0

    @property
    def per_byte_s(self) -> float:
        """Lane-seconds per byte; 0 until there was a request."""
        least = min(self._before, self._now)
        return least if least < float("inf") else 0.0

    def observe(self, lane_s: float, body_bytes: int) -> None:
        """Learns from one request."""
        self._now = min(self._now, lane_s / body_bytes)
        self._seen += 1
        if self._seen == WINDOW:
            self._before, self._now, self._seen = self._now, float("inf"), 0


class EarlyRefusal:
    """Asks admission about a request of which only the length and the time left are known.

    It is taken for the cheapest of its length, so that what is refused here would hardly have been admitted whole.
    Nothing is looked at early, nor refused, before admission has refused a request that it knew all of.

    Args:
        backlog: decides.
        clock: monotonic, in seconds.
    """

    def __init__(self, backlog: Backlog, clock: Callable[[], float]) -> None:
        self._backlog = backlog
        self._clock = clock
        self._least = LeastCost()
        self._strict_until = -float("inf")

    def check(self, body_bytes: int, deadline: float) -> None:
        """Returns for a request that should be read.

        Args:
            body_bytes: length of its body, uncompressed.
            deadline: the latest it can have, as far as its headers say.

        Raises:
            OverloadedError: it could not be admitted.
        """
        now = self._clock()
        lane_s = self._least.per_byte_s * body_bytes
        if now < self._strict_until and lane_s and now < deadline:
            self._backlog.check(_least_job(lane_s, deadline, now), now)

    def admitted(self, body_bytes: int, job: Job) -> None:
        """A request was admitted, and has been worked on."""
        self._least.observe(job.asked_s, body_bytes)

    def refused(self) -> None:
        """A request was refused, early or not."""
        self._strict_until = self._clock() + STRICT_FOR_S


def _least_job(lane_s: float, deadline: float, now: float) -> Job:
    job = Job("", (), deadline=deadline, partial=False, request_id="", submitted=now, on_finish=lambda: None)
    job.expect(lane_s)
    return job
