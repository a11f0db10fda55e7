"""Takes a request through the lanes: prepare its products, plan micro-batches, score them. One loaded model per scorer.

All CPU work of a request, tokenising too, runs on the lanes under the one queue: the event loop only submits and waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from artifact import Product

from .backlog import Backlog
from .cost import CostModel
from .engine import Engine, Kept, Outlook, ProductState, QueryState
from .errors import DeadlineExceededError
from .job import Job
from .metrics import Metrics
from .pair_stage import Logits, PairStage, PairWork
from .planner import MicroBatch, plan, plan_fewest
from .preparation import PREPARE_PRODUCTS, Preparation
from .score_cache import Key, ScoreCache
from .work_queue import Unit
from .workers import Workers

LEAST_RUN_TOKENS = 256
"""Where runs are of one query, fewer tokens take about as long as another lane takes to begin."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What of a job is left for the model: positions in the request, and under which keys to keep their logits.

    Attributes:
        guessed_tokens: mean length of a pair, as the engine guessed it at the start.
        guessed_pair_s: lane-seconds of scoring one, by that guess.
    """

    job: Job
    positions: Sequence[int]
    keys: Sequence[Key]
    guessed_tokens: float = 0.0
    guessed_pair_s: float = 0.0


class Scorer:
    """Scores requests with an engine over lanes.

    Args:
        engine: the model.
        workers: started by the caller.
        backlog: the jobs of all scorers of these workers; decides who may enter.
        budget_tokens: most padded tokens of a micro-batch.
        clock: monotonic, in seconds.
        metrics: told of micro-batches.
        cost: asked for predictions, and told of the time of all work.
        cache: logits already known; None for none.
        batch_wait_s: longest wait of a micro-batch for pairs of other requests.
        encode_tokens: most padded tokens of a micro-batch of products that have to be encoded.
    """

    def __init__(
        self,
        engine: Engine,
        workers: Workers,
        backlog: Backlog,
        *,
        budget_tokens: int,
        clock: Callable[[], float],
        metrics: Metrics,
        cost: CostModel,
        cache: ScoreCache | None = None,
        batch_wait_s: float = 0.0,
        encode_tokens: int = 256,
    ) -> None:
        self._engine = engine
        self._workers = workers
        self._backlog = backlog
        self._budget_tokens = budget_tokens
        self._encode_tokens = encode_tokens
        self._clock = clock
        self._metrics = metrics
        self._at_hand = metrics.product_states.labels("memory")
        self._state_hits = metrics.cache_lookups.labels("state", "hit")
        self._cost = cost
        self._cache = cache
        # Where lanes do both, and micro-batches wait for no others.
        self._goes_on = not workers.apart and (engine.one_query_per_run or not batch_wait_s)
        self._pairs = PairStage(
            engine, cost, budget_tokens=budget_tokens, clock=clock, metrics=metrics, wait_s=batch_wait_s
        )

    def submit(
        self,
        query: str,
        products: Sequence[Product],
        *,
        deadline: float,
        partial_answer: bool,
        request_id: str,
        trace_id: str | None = None,
        on_finish: Callable[[], None],
        background: bool = False,
    ) -> Job:
        """Admits a request and hands it to the lanes. One whose scores are all known has ended on return.

        Raises:
            OverloadedError: there is no room for it, or it would not be done in time. Never for background work.
            DeadlineExceededError: its deadline has passed already.
        """
        now = self._clock()
        if now >= deadline and not partial_answer:
            raise DeadlineExceededError("the deadline passed before the request could be queued")

        def finish() -> None:
            self._finish(job)
            on_finish()

        job = Job(
            query,
            products,
            deadline=deadline,
            partial=partial_answer,
            request_id=request_id,
            trace_id=trace_id,
            submitted=now,
            on_finish=finish,
            background=background,
        )
        work = self._recall(job)
        if now >= deadline:
            job.end(DeadlineExceededError("the deadline passed before the request could be queued"))
        if job.ended:
            return job
        left = [products[i] for i in work.positions]
        outlook = self._engine.outlook(query, left)
        job.expect(self._predict_s(len(left), outlook), at_first=self._first_s(outlook, left) if job.partial else None)
        if not background:
            self._backlog.enter(job, now)
        if outlook.states is not None:
            self._at_hand.inc(len(left) - len(outlook.unknown))
            self._state_hits.inc(len(left) - len(outlook.unknown))
        pair_s = self._cost.pairs_of_request_s(len(left), outlook.pair_tokens) / len(left)
        work = _Work(job, work.positions, work.keys, outlook.pair_tokens, pair_s)
        preparation = Preparation(
            job,
            left,
            outlook,
            self._engine,
            self._cost,
            self._clock,
            lanes=self._workers.preparing,
            encode_tokens=self._encode_tokens,
            counted=not self._workers.apart,
            on_prepared=partial(self._plan, work),
        )
        self._workers.preparing.add(preparation.units())
        return job

    def _predict_s(self, products: int, outlook: Outlook) -> float:
        """Lane-seconds that so many first products take from the lanes of the pair stage."""
        if self._workers.apart:
            return self._cost.pairs_of_request_s(products, outlook.pair_tokens)
        return self._cost.outlook_s(products, outlook, PREPARE_PRODUCTS)

    def _first_s(self, outlook: Outlook, products: Sequence[Product]) -> float:
        """The same of those that a partial answer begins with."""
        first = min(len(products), PREPARE_PRODUCTS)
        if outlook.unknown_of(first) == first:
            first = min(first, max(1, int(self._encode_tokens / max(1.0, outlook.fresh_tokens))))
        return self._predict_s(first, outlook)

    @property
    def kept_scores(self) -> Kept:
        """What the score cache keeps: pairs here, not products."""
        if self._cache is None:
            return Kept(0, 0, "score")
        return Kept(len(self._cache), self._cache.bytes_used, "score", self._cache.max_bytes)

    def forget(self) -> None:
        """Empties the caches: memory is short."""
        self._engine.forget()
        if self._cache is not None:
            self._cache.clear()

    def _recall(self, job: Job) -> _Work:
        """Records the logits that the cache has; what it has not is work."""
        if self._cache is None:
            return _Work(job, range(len(job.products)), ())
        keys = self._cache.keys(job.query, job.products)
        logits = self._cache.look_up(keys)
        known = ~np.isnan(logits)
        if known.any():
            job.record(np.flatnonzero(known).tolist(), logits[known])
        positions: list[int] = np.flatnonzero(~known).tolist()
        return _Work(job, positions, [keys[i] for i in positions])

    def _plan(
        self, work: _Work, prepared: Sequence[int], query: QueryState, products: Sequence[ProductState]
    ) -> Unit | None:
        """Cuts products, `prepared` of those that are left, into micro-batches and hands them to the lanes."""
        job = work.job
        lengths = [self._engine.pair_tokens(query, product) for product in products]
        batches = self._planned(lengths)
        padded_tokens = sum(batch.padded_tokens for batch in batches)
        self._cost.observe_tokens(padded_tokens, len(products), work.guessed_tokens)
        units = [
            self._pairs.unit(
                job,
                PairWork(
                    [(query, products[i]) for i in batch.indices], batch, partial(self._keep, work, batch, prepared)
                ),
                rank=prepared[0],
            )
            for batch in batches
        ]
        job.replan(len(products) * work.guessed_pair_s, sum(unit.cost_s for unit in units), sum(lengths))
        if len(units) == 1 and self._goes_on:
            # The lane goes on with it: a small request does not queue twice.
            return units[0]
        self._workers.pairs.add(units)
        return None

    def _planned(self, lengths: Sequence[int]) -> list[MicroBatch]:
        lanes = self._workers.pairs.count
        if self._engine.one_query_per_run:
            return plan_fewest(lengths, self._budget_tokens, lanes=lanes, least_tokens=LEAST_RUN_TOKENS)
        return plan(lengths, self._budget_tokens, lanes=lanes)

    def _keep(self, work: _Work, batch: MicroBatch, prepared: Sequence[int], logits: Logits) -> None:
        indices = [prepared[i] for i in batch.indices]
        if self._cache is not None:
            logits = self._cache.keep([work.keys[i] for i in indices], logits)
        work.job.record([work.positions[i] for i in indices], logits)

    def _finish(self, job: Job) -> None:
        if not job.background:
            self._backlog.leave(job, self._clock())
