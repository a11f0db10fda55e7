"""Ranking metrics with bootstrap intervals: nDCG@10 over queries, AUC over pairs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % percentile bootstrap interval, and over how many queries or pairs it was taken."""

    name: str
    value: float
    low: float
    high: float
    data: str
    split: str
    size: int

    def as_dict(self) -> dict[str, str | float | int]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ndcg(scores: NDArray[np.floating], gains: NDArray[np.floating], depth: int = 10) -> float:
    """nDCG at `depth` of one query; products tied in score share the mean gain of their tie.

    Source: Järvelin and Kekäläinen, 2002; ties: McSherry and Najork, ECIR 2008.
    """
    _, group = np.unique(-scores, return_inverse=True)
    shared = (np.bincount(group, weights=gains) / np.bincount(group))[group]
    ranked = shared[np.argsort(-scores, kind="stable")][:depth]
    ideal = np.sort(gains)[::-1][:depth]
    discount = 1.0 / np.log2(np.arange(2, len(ranked) + 2))
    return float((ranked * discount).sum() / (ideal * discount).sum())


def auc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Probability that a positive scores above a negative, ties counting half."""
    ranked = np.sort(negative)
    below = np.searchsorted(ranked, positive, side="left") + np.searchsorted(ranked, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def mean_ndcg(
    queries: Sequence[str],
    scores: NDArray[np.floating],
    gains: NDArray[np.floating],
    data: str,
    split: str,
    seed: int = 0,
) -> Estimate:
    """Mean nDCG@10 over the queries whose gains differ; the bootstrap draws queries."""
    rows: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        rows.setdefault(query, []).append(i)
    mixed = [np.asarray(indices) for indices in rows.values() if len(set(gains[indices])) > 1]
    values = np.asarray([ndcg(scores[indices], gains[indices]) for indices in mixed])
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return Estimate("nDCG@10", float(values.mean()), float(low), float(high), data, split, len(values))


def auc_between(
    positive: NDArray[np.floating], negative: NDArray[np.floating], name: str, data: str, split: str, seed: int = 0
) -> Estimate:
    """AUC of positives against negatives; the bootstrap draws within each."""
    random = np.random.default_rng(seed)
    draws = [
        auc(random.choice(positive, len(positive)), random.choice(negative, len(negative))) for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(draws, (2.5, 97.5))
    size = len(positive) + len(negative)
    return Estimate(name, auc(positive, negative), float(low), float(high), data, split, size)
