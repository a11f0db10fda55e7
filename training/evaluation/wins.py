"""The queries on which one model ranks better than another, and worse, with what each of them put on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config.evaluation import Evaluation
from ..data import JudgedPair
from .metrics import query_metrics
from .sources import JudgedSource

SHOWN_QUERIES = 5
SHOWN_PRODUCTS = 4


@dataclass(frozen=True, slots=True)
class RankedProduct:
    """A judged product, and the score and the rank, from 1, that each model gave it among its query's products."""

    title: str
    details: str
    grade: str
    score_a: float
    rank_a: int
    score_b: float
    rank_b: int


@dataclass(frozen=True, slots=True)
class Example:
    """A query, its figure by both models, and the products that either of them put on top."""

    query: str
    a: float
    b: float
    products: tuple[RankedProduct, ...]


def wins_and_losses(
    source: JudgedSource,
    pairs: Sequence[JudgedPair],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    settings: Evaluation,
) -> tuple[list[Example], list[Example]]:
    """Queries with the largest gain of A over B, and with the largest loss; none where the source has no nDCG.

    Args:
        source: whose queries are compared.
        pairs: those that `source.rows` point into.
        a, b: scores of the source's pairs, shape (pairs,).
        settings: the depth of nDCG.
    """
    by_a, by_b = query_metrics(source, a, settings), query_metrics(source, b, settings)
    if not by_a:
        return [], []
    of_a, of_b = by_a[0].values, by_b[0].values
    order = np.argsort(np.where(np.isfinite(of_a), of_a - of_b, 0.0), kind="stable")
    wins = [q for q in order[::-1][:SHOWN_QUERIES] if of_a[q] > of_b[q]]
    losses = [q for q in order[:SHOWN_QUERIES] if of_a[q] < of_b[q]]

    def examples(queries: Sequence[int]) -> list[Example]:
        return [
            Example(source.queries.names[q], float(of_a[q]), float(of_b[q]), _products(source, pairs, a, b, q))
            for q in queries
        ]

    return examples(wins), examples(losses)


def _products(
    source: JudgedSource, pairs: Sequence[JudgedPair], a: NDArray[np.float64], b: NDArray[np.float64], query: int
) -> tuple[RankedProduct, ...]:
    rows = np.flatnonzero(source.queries.ids == query)
    rank_a, rank_b = _ranks(a[rows]), _ranks(b[rows])
    found = []
    for i in np.lexsort((rank_b, rank_a)):
        if min(rank_a[i], rank_b[i]) <= SHOWN_PRODUCTS:
            pair = pairs[source.rows[rows[i]]]
            details = " · ".join(text for field, text in pair.product.items() if field != "title" and text)
            found.append(
                RankedProduct(
                    pair.product.get("title") or "(no title)",
                    _cut(details, 160),
                    pair.grade or f"{pair.target:g}",
                    float(a[rows[i]]),
                    int(rank_a[i]),
                    float(b[rows[i]]),
                    int(rank_b[i]),
                )
            )
    return tuple(found)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters].rstrip() + " …"
