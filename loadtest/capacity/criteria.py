"""When does a rate hold? Requests that missed are counted against how many may, so that nearness can be judged too."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..measure import Outcome, Sample

_SURE_DEVIATIONS = 2.0
_SURE_TIMES = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests that missed one part of the objective, and how many may."""

    what: str
    missed: int
    allowed: int

    @property
    def held(self) -> bool:
        """Whether it holds."""
        return self.missed <= self.allowed

    @property
    def sure(self) -> bool:
        """Whether it is so far from the limit that chance is no excuse.

        Below: by two standard deviations of a count. Above: three times as many as may, too, because what disturbs a
        machine for a moment makes latencies longer and never shorter: a break is less to be trusted than a hold.
        """
        spread = _SURE_DEVIATIONS * math.sqrt(max(1, self.allowed))
        if self.held:
            return self.missed <= self.allowed - spread or self.missed == 0
        return self.missed > max(self.allowed + spread, _SURE_TIMES * self.allowed)


Criterion = Callable[[Sequence[Sample]], Sequence[Tally]]
"""The rate holds if every tally does; of no samples nothing holds."""


def objective(p99_ms: float, max_error_rate: float) -> Criterion:
    """p99 of accepted requests and share of requests not accepted: what `slo` judges."""

    def count(samples: Sequence[Sample]) -> list[Tally]:
        accepted = [sample.latency_ms for sample in samples if sample.outcome is Outcome.ACCEPTED]
        slow = sum(latency_ms > p99_ms for latency_ms in accepted)
        errors = len(samples) - len(accepted)
        return [
            Tally(f"slower than {p99_ms:g} ms", slow, _share_of(0.01, len(accepted))),
            # Without an accepted request there is no p99 that could hold.
            Tally("not accepted", errors, _share_of(max_error_rate, len(samples)) if accepted else -1),
        ]

    return count


def in_time(deadline_ms: float, share: float) -> Criterion:
    """At least this share of the requests gets a complete answer within the deadline; one may always miss."""

    def count(samples: Sequence[Sample]) -> list[Tally]:
        good = sum(s.outcome is Outcome.ACCEPTED and s.latency_ms <= deadline_ms for s in samples)
        # A short step has too few requests for a share of 99 %.
        allowed = max(1, _share_of(1 - share, len(samples))) if good else -1
        return [Tally(f"not within {deadline_ms:g} ms", len(samples) - good, allowed)]

    return count


def _share_of(share: float, count: int) -> int:
    return math.floor(share * count + 1e-9)
