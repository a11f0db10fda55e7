"""Evaluates every variant alike, and refuses an int8 variant that loses too much quality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from artifact import Metric

from .compile import Say
from .errors import ExportError
from .runtime import Pair

ScoringFunction = Callable[[Sequence[Pair]], NDArray[np.float64]]
"""Text pairs to logits, shape (n,)."""


class Estimate(Protocol):
    """A measured figure with its 95 % interval; `size` counts the queries or pairs that it averages over."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def data(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def size(self) -> int: ...


FEWEST_QUERIES = 30
"""Below this many queries the gate stays open: two products that change places at the top of one query move its nDCG by
up to 0.15 or so, and the mean over 30 queries by as much as the gate allows."""

Evaluate = Callable[[ScoringFunction], Sequence[Estimate]]
"""Measures a scoring function on judgements, the same ones at each call."""


def evaluate_variants(
    evaluate: Evaluate, scorers: Mapping[str, ScoringFunction], max_ndcg_loss: float, say: Say
) -> tuple[Metric, ...]:
    """The metrics of each variant; the first of `scorers` is the one that the others are held against.

    Raises:
        ExportError: a metric whose name begins with nDCG, over at least `FEWEST_QUERIES` queries, falls by more than
            `max_ndcg_loss`.
    """
    found = {name: [_metric(estimate, name) for estimate in evaluate(score)] for name, score in scorers.items()}
    for name, metrics in found.items():
        say(f"{name}: " + (", ".join(f"{m.data} {m.name} {m.value:.4f}" for m in metrics) or "nothing to measure on"))
    first, *others = found.values()
    for metrics in others:
        for before, after in zip(first, metrics, strict=True):
            _check_loss(before, after, max_ndcg_loss, say)
    return tuple(metric for metrics in found.values() for metric in metrics)


def _check_loss(before: Metric, after: Metric, limit: float, say: Say) -> None:
    loss = before.value - after.value
    if not before.name.lower().startswith("ndcg") or loss <= limit:
        return
    lost = (
        f"{after.variant} loses {loss:.4f} {before.name} on {before.data} {before.split} ({before.value:.4f} to "
        f"{after.value:.4f}); at most {limit:g} is allowed"
    )
    if before.size >= FEWEST_QUERIES:
        raise ExportError(f"{lost}: take more or more varied calibration pairs")
    say(f"warning: {lost}, but {before.size} queries are too few to tell: judge at least {FEWEST_QUERIES}")


def _metric(e: Estimate, variant: str) -> Metric:
    return Metric(
        name=e.name, value=e.value, low=e.low, high=e.high, data=e.data, split=e.split, size=e.size, variant=variant
    )
