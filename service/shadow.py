"""Has a second model score a share of the default model's requests once they are answered, and measures the difference.

It never touches an answer, and keeps out of the way of real work: lanes take its micro-batches only where nothing else
waits, one of its requests is in work at a time, and admission does not count it. What of it runs when a request arrives
holds a lane for one micro-batch at most. A replica without idle moments compares little: metrics say what was dropped.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from .errors import ClientGoneError, DeadlineExceededError, ServiceError, UnavailableError
from .job import Job
from .metrics import Metrics
from .registry import LoadedModel, Registry
from .sampling import is_sampled

RANKED_PRODUCTS = 128
"""The order is compared for so many products of a request, evenly spaced: its cost grows with their square."""

SCORE_DECIMALS = 6
"""Scores closer than that are a tie: the same pair differs in the last bits from batch to batch."""

TIMEOUT_S = 10.0
"""Longest time for one request: idle moments are short, and it may need many."""

COMPARED, DROPPED, FAILED = "compared", "dropped", "failed"


@dataclass(frozen=True, slots=True)
class _Answered:
    """A request with the scores that it was answered with; NaN where it has none."""

    request_id: str
    query: str
    products: Sequence[Product]
    scores: NDArray[np.float64]


class Shadow:
    """Belongs to the event loop.

    Args:
        registry: of the loaded models.
        name: of the shadow model there.
        rate: share of requests to sample.
        metrics: told of every sampled request.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        name: str,
        rate: float,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._name = name
        self._rate = rate
        self._metrics = metrics
        self._clock = clock
        self._job: Job | None = None
        self._stopped = False
        for outcome in (COMPARED, DROPPED, FAILED):
            metrics.shadow.labels(outcome)

    def offer(self, job: Job, served: LoadedModel) -> None:
        """Takes note of an answered request; sampled by its id, it is scored once its answer is on its way."""
        if served.name != self._registry.default_name or not is_sampled(job.request_id, self._rate):
            return
        logits, scored = job.results()
        scores = np.where(scored, served.model.manifest.calibration.scores(logits), np.nan)
        answered = _Answered(job.request_id, job.query, job.products, scores)
        asyncio.get_running_loop().call_soon(self._begin, answered)

    def stop(self) -> None:
        """Ends what is in work, and begins nothing more."""
        self._stopped = True
        if self._job is not None:
            self._job.end(ClientGoneError("the service is stopping"))

    def _begin(self, answered: _Answered) -> None:
        if self._job is not None or self._stopped:
            self._metrics.shadow.labels(DROPPED).inc()
            return
        loop = asyncio.get_running_loop()
        loaded = self._registry.find(self._name)
        in_use = ExitStack()

        def on_finish() -> None:
            loop.call_soon_threadsafe(finish)

        def finish() -> None:
            timer.cancel()
            in_use.close()
            self._job = None
            self._metrics.shadow.labels(self._compare(answered, job, loaded)).inc()

        try:
            job = loaded.scorer.submit(
                answered.query,
                answered.products,
                deadline=self._clock() + TIMEOUT_S,
                partial_answer=False,
                request_id=answered.request_id,
                on_finish=on_finish,
                background=True,
            )
        except ServiceError:
            self._metrics.shadow.labels(DROPPED).inc()
            return
        in_use.enter_context(loaded.use())
        self._job = job
        timer = loop.call_later(TIMEOUT_S, job.end, DeadlineExceededError("the deadline passed"))

    def _compare(self, answered: _Answered, job: Job, loaded: LoadedModel) -> str:
        match job.error:
            case ClientGoneError() | DeadlineExceededError() | UnavailableError():
                return DROPPED
            case Exception():
                return FAILED
        logits, _ = job.results()
        scores = loaded.model.manifest.calibration.scores(logits)
        usable = np.isfinite(scores) & np.isfinite(answered.scores)
        if not usable.any():
            return FAILED
        ours, served = scores[usable], answered.scores[usable]
        self._metrics.shadow_difference.observe(float(np.abs(ours - served).mean()))
        disagreement = rank_disagreement(ours, served)
        if disagreement is not None:
            self._metrics.shadow_disagreement.observe(disagreement)
        return COMPARED


def rank_disagreement(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    """Share of product pairs that two score lists, shape (n,), order otherwise: 0 for one order, 1 for its reverse.

    A pair tied in one list alone counts half, one tied in both not at all. None where both tie everything. Kendall's
    tau is 1 - 2 times it.
    """
    every = -(-len(ours) // RANKED_PRODUCTS)
    a, b = (np.round(scores[::every], SCORE_DECIMALS) for scores in (ours, theirs))
    first, second = np.triu_indices(len(a), k=1)
    order_a, order_b = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    ordered = np.count_nonzero((order_a != 0) | (order_b != 0))
    return float((1 - (order_a * order_b).sum() / ordered) / 2) if ordered else None
