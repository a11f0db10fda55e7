"""What protects the service from more work than it can do, put together: backlog, admission rules, adaptive limit."""

import random
from collections.abc import Callable

from .adaptive_limit import AdaptiveLimit
from .admission import BoundedBacklog, Every, PredictedTime, RetryAfter
from .backlog import Backlog, DrainRate
from .job import Job
from .metrics import Metrics

LEAST_LIMIT_S = 0.05
"""The adaptive limit stays over this: a few micro-batches for each lane keep them busy."""


class Overload:
    """Decides what enters, and learns from what leaves.

    Args:
        lanes: how many make progress.
        micro_batch_s: lane-seconds of a micro-batch.
        max_backlog_s: most seconds of work for each lane.
        clock: monotonic, in seconds.
        metrics: told how good predictions were.
        random_source: of the jitter in Retry-After.

    Attributes:
        backlog: of all models.
        limit: the present bound of the backlog.
    """

    def __init__(
        self,
        *,
        lanes: Callable[[], int],
        micro_batch_s: Callable[[], float],
        max_backlog_s: float,
        clock: Callable[[], float],
        metrics: Metrics,
        random_source: random.Random,
    ) -> None:
        self._metrics = metrics
        self._drain = DrainRate(float(lanes()), clock())
        self.limit = AdaptiveLimit(LEAST_LIMIT_S, max_backlog_s)
        retry_after = RetryAfter(lambda: self._drain.per_s, random_source)
        rules = (
            BoundedBacklog(lambda: self.limit.limit_s, lanes, retry_after),
            PredictedTime(micro_batch_s, lanes, retry_after),
        )
        self.backlog = Backlog(Every(rules), self._left)

    def drained(self, seconds: float, now: float) -> None:
        """So many lane-seconds of predicted work have been done. Called by the lanes."""
        self._drain.drained(seconds, now)

    def _left(self, job: Job, now: float) -> None:
        if job.error is None and job.predicted_s and not job.partial:
            taken_s = now - job.times.submitted
            self._metrics.prediction_ratio.observe(taken_s / job.predicted_s)
            self.limit.observe(taken_s, job.predicted_s)
