"""Refuses requests before their bodies are parsed, while there is too much work: a refusal should cost little."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from .backlog import Backlog
from .errors import OverloadedError
from .job import Job

STRICT_FOR_S = 1.0
"""So long after a refusal, the next requests are looked at early."""

WINDOW = 1024
"""Requests of which the cheapest counts, and up to as many before them."""

READ_ANYWAY = 16
"""One in so many of those that would be refused early is read: of a kind that is cheaper than all that were admitted
lately, one has to be, or it would be refused for ever."""

READ_EVERY_S = 0.05
"""But none sooner after another: reading a body costs ten times what refusing it does."""

READ_IN_VAIN = 0.2
"""The share of those parsed that may be refused after all for their cost."""

STEP = 0.1
"""By which part one that was read in vain raises what requests are taken for."""

MOST_TIMES = 8.0
"""As the cheapest, that a request is taken for at most."""


class LeastCost:
    """The fewest lane-seconds per byte of body among recent requests.

    Where some cost nothing, since all their scores are known, the least is nothing.
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


class Caution:
    """How many times as dear as the cheapest requests are taken for, so that READ_IN_VAIN of those read are refused.

    Where all are alike, it is what stands between the cheapest of a thousand and the next one.
    """

    def __init__(self) -> None:
        self.times = 1.0

    def observe(self, *, in_vain: bool) -> None:
        """Learns from one that was read."""
        factor = 1.0 + STEP if in_vain else (1.0 + STEP) ** (-READ_IN_VAIN / (1.0 - READ_IN_VAIN))
        self.times = min(max(self.times * factor, 1.0), MOST_TIMES)


@dataclass(frozen=True, slots=True)
class LetIn:
    """What a request was taken for, and whether it is read although there is no room."""

    lane_s: float
    anyway: bool


class EarlyRefusal:
    """Asks admission about a request of which only the length and the time left are known.

    It is taken for one of the cheapest of its length, so that what is refused here would hardly have been admitted
    whole. Nothing is looked at early, nor refused, unless admission has just refused a request that it knew all of.

    Args:
        backlog: decides.
        clock: monotonic, in seconds.
        random_source: of whom to read anyway.
    """

    def __init__(self, backlog: Backlog, clock: Callable[[], float], random_source: random.Random) -> None:
        self._backlog = backlog
        self._clock = clock
        self._random = random_source
        self._least = LeastCost()
        self._caution = Caution()
        self._strict_until = self._read_next = -float("inf")
        self._let_in, self._let_in_s = 0, 0.0

    @property
    def strict(self) -> bool:
        """Whether requests are looked at early at present."""
        return self._clock() < self._strict_until

    def let_in(self, body_bytes: int, deadline: float) -> LetIn:
        """The same as `check` of a request whose turn to be read comes later: until then it counts as work.

        Whoever gets one hands it to `its_turn`.

        Raises:
            OverloadedError: it could not be admitted.
        """
        lane_s = self._lane_s(body_bytes)
        let_in = LetIn(lane_s, anyway=self._is_anyway(lane_s + self._let_in_s, deadline))
        self._let_in_s += lane_s
        self._let_in += 1
        return let_in

    def its_turn(self, let_in: LetIn) -> None:
        """It is about to be read."""
        self._let_in -= 1
        # Sums of floats do not come back to nothing.
        self._let_in_s = max(0.0, self._let_in_s - let_in.lane_s) if self._let_in else 0.0

    def check(self, body_bytes: int, deadline: float) -> bool:
        """Returns for a request that should be read: whether it is although it could not be admitted.

        Args:
            body_bytes: length of its body, uncompressed.
            deadline: the latest it can have, as far as its headers say.

        Raises:
            OverloadedError: it could not be admitted.
        """
        return self._is_anyway(self._lane_s(body_bytes), deadline)

    def _lane_s(self, body_bytes: int) -> float:
        return self._caution.times * self._least.per_byte_s * body_bytes

    def _is_anyway(self, lane_s: float, deadline: float) -> bool:
        """Whether a request is read although it could not be admitted.

        Raises:
            OverloadedError: it is not.
        """
        now = self._clock()
        if now >= self._strict_until or not lane_s or now >= deadline:
            return False
        try:
            self._backlog.check(_least_job(lane_s, deadline, now), now)
        except OverloadedError:
            if now < self._read_next or self._random.randrange(READ_ANYWAY):
                raise
            self._read_next = now + READ_EVERY_S
            return True
        return False

    def ended(self, body_bytes: int, job: Job) -> None:
        """A request is done with. One that was too late to be admitted says nothing of costs."""
        if job.asked_s or job.error is None:
            self._least.observe(job.asked_s, body_bytes)

    def admitted(self) -> None:
        """A request was read, and let into the queue."""
        if self.strict:
            self._caution.observe(in_vain=False)

    def refused(self, *, foreseeable: bool = True) -> None:
        """Admission has refused a request that it knew all of.

        Args:
            foreseeable: whether its cost was all that was not known before, and it was not read anyway.
        """
        if self.strict and foreseeable:
            self._caution.observe(in_vain=True)
        self._strict_until = self._clock() + STRICT_FOR_S


def _least_job(lane_s: float, deadline: float, now: float) -> Job:
    job = Job("", (), deadline=deadline, partial=False, request_id="", submitted=now, on_finish=lambda: None)
    job.expect(lane_s)
    return job
