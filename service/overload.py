"""What protects the service from more work than it can do, put together: backlog, admission rules, adaptive limit."""

import random
from collections.abc import Callable

from .adaptive_limit import AdaptiveLimit
from .admission import BoundedBacklog, Every, PredictedTime, RetryAfter
from .answer_lag import AnswerLag
from .backlog import Backlog
from .errors import DeadlineExceededError
from .headroom import LEAST, Headroom
from .job import Job
from .metrics import Metrics
from .pace import Pace

LEAST_LIMIT_S = 0.05
"""The adaptive limit stays over this: a few micro-batches for each lane keep them busy."""


class Overload:
    """Decides what enters, and learns from what leaves.

    Args:
        lanes: how many make progress.
        micro_batch_s: lane-seconds of a micro-batch, the longest kind that there is.
        max_backlog_s: most seconds of work for each lane.
        metrics: told how good predictions were.
        random_source: of the jitter in Retry-After.

    Attributes:
        backlog: of all models.
        limit: the present bound of the backlog.
        pace: told by the lanes of all work done.
        answer_lag: told of every answer.
        headroom: what predictions are multiplied with.
    """

    def __init__(
        self,
        *,
        lanes: Callable[[], int],
        micro_batch_s: Callable[[], float],
        max_backlog_s: float,
        metrics: Metrics,
        random_source: random.Random,
    ) -> None:
        self._metrics = metrics
        self.pace = Pace()
        self.answer_lag = AnswerLag()
        self.headroom = Headroom()
        self.limit = AdaptiveLimit(LEAST_LIMIT_S, max_backlog_s)
        retry_after = RetryAfter(lambda: lanes() * self.pace.ratio, random_source)
        rules = (
            BoundedBacklog(lambda: self.limit.limit_s, lanes, retry_after),
            PredictedTime(
                micro_batch_s,
                lambda: lanes() * self.pace.ratio,
                lambda: self.answer_lag.seconds,
                self.headroom.ratio,
                retry_after,
            ),
        )
        self.backlog = Backlog(Every(rules), self._left)

    def _left(self, job: Job, now: float) -> None:
        if not job.predicted_s or job.partial:
            return
        taken_s = now - job.times.submitted
        expired = isinstance(job.error, DeadlineExceededError)
        if job.predicted_s * LEAST <= job.deadline - job.times.submitted and (job.error is None or expired):
            self.headroom.observe(now, late=expired or now + self.answer_lag.seconds > job.deadline)
        if job.error is None:
            self._metrics.prediction_ratio.observe(taken_s / job.predicted_s)
            self.limit.observe(taken_s, job.predicted_s)
        elif expired:
            # Without these, the limit would stay up where nothing is done in time any more.
            self.limit.observe(taken_s, job.predicted_s, finished=False)
