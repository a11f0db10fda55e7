"""Evaluates any scoring function on the judgements of a configuration."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from ..config import Data
from ..config.evaluation import Evaluation
from ..data import JudgedPair, normalise_query
from .metrics import Estimate, ranking_estimates
from .sources import sources_of

Scorer = Callable[[Sequence[tuple[str, Product]]], NDArray[np.floating]]
"""Text pairs to logits or scores, shape (n,)."""
SCORED_TOGETHER = 4096
"""Pairs given to a scorer at once: enough to sort by length, few enough for its memory."""


def evaluate(
    scorer: Scorer,
    pairs: Sequence[JudgedPair],
    data: Data,
    split: str = "test",
    settings: Evaluation | None = None,
) -> list[Estimate]:
    """The ranking metrics that each judgement source asks for, on one split.

    A source without pairs in the split, or whose metric has nothing to compare, gives no estimate.
    """
    picked = [pair for pair in pairs if pair.split == split]
    if not picked:
        return []
    scores = finite_scores(scorer, picked)
    return [
        estimate
        for source in sources_of(picked, data, split)
        for estimate in ranking_estimates(source, scores[source.rows], settings or Evaluation())
    ]


def finite_scores(scorer: Scorer, pairs: Sequence[JudgedPair]) -> NDArray[np.float64]:
    """The scores of judged pairs, shape (pairs,).

    Raises:
        ValueError: a score is not finite, or there is not one a pair.
    """
    parts = [np.empty(0)]
    for start in range(0, len(pairs), SCORED_TOGETHER):
        some = [(pair.query, pair.product) for pair in pairs[start : start + SCORED_TOGETHER]]
        parts.append(np.asarray(scorer(some), dtype=np.float64))
        if parts[-1].shape != (len(some),):
            raise ValueError(f"expected one score for each of {len(some)} pairs, got the shape {parts[-1].shape}")
    scores = np.concatenate(parts)
    if not np.isfinite(scores).all():
        raise ValueError("the scoring function gave a score that is not finite")
    return scores


def word_overlap(pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float64]:
    """A floor that needs no model: the share of the query's words that stand in the title."""
    shares = []
    for query, product in pairs:
        words = set(normalise_query(query).split())
        shares.append(len(words & set(normalise_query(product.get("title") or "").split())) / max(1, len(words)))
    return np.asarray(shares)
