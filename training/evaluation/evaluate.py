"""Evaluates any scoring function on the judgements of a configuration."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from ..config import Data
from ..data import JudgedPair, normalise_query
from .metrics import Estimate, auc_between, mean_ndcg

Scorer = Callable[[Sequence[tuple[str, Product]]], NDArray[np.floating]]
"""Text pairs to logits or scores, shape (n,)."""


def evaluate(scorer: Scorer, pairs: Sequence[JudgedPair], data: Data, split: str = "test") -> list[Estimate]:
    """The metrics that each judgement source asks for, on one split.

    A source without pairs in the split, or whose metric has nothing to compare, gives no estimate.
    """
    picked = [pair for pair in pairs if pair.split == split]
    if not picked:
        return []
    scores = np.asarray(scorer([(pair.query, pair.product) for pair in picked]), dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("the scoring function gave a score that is not finite")
    estimates = []
    for source in data.judgements:
        rows = [i for i, pair in enumerate(picked) if pair.source == source.name]
        own = scores[rows]
        grades = [picked[i].grade for i in rows]
        if source.ndcg_gains is not None:
            gains = np.asarray([source.ndcg_gains[grade] for grade in grades], dtype=np.float64)
            queries = [picked[i].query for i in rows]
            if _has_mixed_query(queries, gains):
                estimates.append(mean_ndcg(queries, own, gains, source.name, split))
        for positive, negative in source.auc:
            above, below = own[np.isin(grades, positive)], own[np.isin(grades, negative)]
            name = f"AUC {'+'.join(positive)} against {'+'.join(negative)}"
            if len(above) and len(below):
                estimates.append(auc_between(above, below, name, source.name, split))
    return estimates


def word_overlap(pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float64]:
    """A floor that needs no model: the share of the query's words that stand in the title."""
    shares = []
    for query, product in pairs:
        words = set(normalise_query(query).split())
        shares.append(len(words & set(normalise_query(product.get("title") or "").split())) / max(1, len(words)))
    return np.asarray(shares)


def _has_mixed_query(queries: Sequence[str], gains: NDArray[np.float64]) -> bool:
    first: dict[str, float] = {}
    return any(first.setdefault(query, gain) != gain for query, gain in zip(queries, gains.tolist(), strict=True))
