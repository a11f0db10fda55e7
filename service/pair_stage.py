"""The pair stage of one model: micro-batches as units of work, joined across requests where that is cheaper."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cost import CostModel
from .engine import Engine, ProductState, QueryState
from .job import Job
from .metrics import Metrics
from .planner import MicroBatch
from .work_queue import Joint, Unit

LEAVE = 2.0
"""A micro-batch waits for others no longer than until so many times its duration are left before its deadline."""

Pairs = Sequence[tuple[QueryState, ProductState]]
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PairWork:
    """A micro-batch of one request.

    Attributes:
        pairs: prepared, in the order of `batch`.
        batch: its plan.
        keep: called on a lane with the logits, shape (len(pairs),).
    """

    pairs: Pairs
    batch: MicroBatch
    keep: Callable[[Logits], None]


class PairStage:
    """Runs pairs of one or more requests through one model.

    Args:
        engine: the model.
        cost: asked for predictions, told of the time of all work.
        budget_tokens: most padded tokens of a joint micro-batch.
        clock: monotonic, in seconds.
        metrics: told of micro-batches.
        wait_s: longest wait of a micro-batch for pairs of other requests, where its deadline leaves time for it.
    """

    def __init__(
        self,
        engine: Engine,
        cost: CostModel,
        *,
        budget_tokens: int,
        clock: Callable[[], float],
        metrics: Metrics,
        wait_s: float = 0.0,
    ) -> None:
        self._engine = engine
        self._cost = cost
        self._budget_tokens = budget_tokens
        self._clock = clock
        self._metrics = metrics
        self._wait_s = wait_s

    def unit(self, job: Job, work: PairWork, rank: int = 0) -> Unit:
        """A micro-batch as a unit of work."""
        cost_s = self._cost.pairs_s(len(work.pairs), work.batch.longest)
        if self._engine.one_query_per_run:
            return PairUnit(job, self._run, cost_s, rank, stage=self, work=work)
        hold_until = -math.inf
        if self._wait_s:
            # Joined by others, it may take as long as a full micro-batch.
            latest = job.deadline - LEAVE * self._cost.micro_batch_s
            hold_until = min(self._clock() + self._wait_s, latest)
        return PairUnit(job, self._run, cost_s, rank, self._joint, hold_until, stage=self, work=work)

    def _joint(self, unit: Unit) -> Joint:
        (first,) = _pair_units([unit])
        return PairJoint(first, self._cost, self._budget_tokens)

    def _run(self, taken: Sequence[Unit]) -> None:
        units = _pair_units(taken)
        started = self._clock()
        for unit in units:
            if unit.job.times.pairs_started is None:
                unit.job.times.pairs_started = started
        pairs = [pair for unit in units for pair in unit.work.pairs]
        logits = np.asarray(self._engine.score_pairs(pairs), dtype=np.float32)
        ended = self._clock()
        longest = max(unit.work.batch.longest for unit in units)
        self._cost.observe_pairs(ended - started, len(pairs), longest)
        self._metrics.micro_batch(
            seconds=ended - started,
            pairs=len(pairs),
            tokens=sum(unit.work.batch.tokens for unit in units),
            padded_tokens=longest * len(pairs),
        )
        start = 0
        for unit in units:
            unit.job.times.pairs_ended = ended
            unit.work.keep(logits[start : start + len(unit.work.pairs)])
            start += len(unit.work.pairs)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairUnit(Unit):
    """A unit that the pair stage made."""

    stage: PairStage
    work: PairWork


class PairJoint:
    """Micro-batches that run sooner together than one after another.

    Args:
        first: of them.
        cost: asked for predictions.
        budget_tokens: most padded tokens of all together.
    """

    def __init__(self, first: PairUnit, cost: CostModel, budget_tokens: int) -> None:
        self._stage = first.stage
        self._cost = cost
        self._budget_tokens = budget_tokens
        self._pairs = len(first.work.pairs)
        self._longest = first.work.batch.longest
        self._apart_s = cost.pairs_s(self._pairs, self._longest)

    @property
    def full(self) -> bool:
        """Whether no further pair fits that is as long as the longest."""
        return (1 + self._pairs) * self._longest > self._budget_tokens

    def add(self, other: Unit) -> bool:
        """See Joint."""
        if not isinstance(other, PairUnit) or other.stage is not self._stage:
            return False
        pairs = self._pairs + len(other.work.pairs)
        longest = max(self._longest, other.work.batch.longest)
        if pairs * longest > self._budget_tokens:
            return False
        apart_s = self._apart_s + self._cost.pairs_s(len(other.work.pairs), other.work.batch.longest)
        if self._cost.pairs_s(pairs, longest) >= apart_s:
            return False
        self._pairs, self._longest, self._apart_s = pairs, longest, apart_s
        return True


def _pair_units(units: Sequence[Unit]) -> list[PairUnit]:
    return [unit for unit in units if isinstance(unit, PairUnit)]
