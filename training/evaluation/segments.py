"""A model's main figure by segment: query length, head and tail, category. Small segments give no figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config.evaluation import Evaluation
from ..data import JudgedPair
from .metrics import (
    AucMetric,
    Estimate,
    QueryMetric,
    auc_metrics,
    estimate_auc,
    estimate_queries,
    query_metrics,
)
from .sources import JudgedSource

OTHER = "other"
NO_CATEGORY = "no category"


@dataclass(frozen=True, slots=True)
class SegmentFigure:
    """A figure of one segment; `estimate` is None where `size` queries (AUC: pairs of the smaller side) are too few."""

    kind: str
    segment: str
    size: int
    estimate: Estimate | None


def segment_labels(
    source: JudgedSource, pairs: Sequence[JudgedPair], settings: Evaluation
) -> dict[str, NDArray[np.str_]]:
    """Kind of segment -> segment of each of the source's queries, shape (queries,).

    Query length is in words. Head queries have more judged products than the median query; the kind is left out where
    all have the same number. A query's category is the commonest `product_type` of its most relevant products; the
    kind is left out where no product has one.

    Args:
        source: whose queries are meant.
        pairs: those that `source.rows` point into.
        settings: how many categories are told apart.
    """
    lengths = np.asarray([min(3, len(name.split())) for name in source.queries.names])
    labels = {"query length": np.asarray(["", "1 word", "2 words", "3 words or more"])[lengths]}
    sizes = source.queries.sizes
    head = sizes > np.median(sizes)
    if head.any():
        labels["judged products"] = np.where(head, "head", "tail")
    categories = _categories(source, pairs)
    common = [name for name, _ in Counter(categories).most_common(settings.categories)]
    if set(categories) != {NO_CATEGORY}:
        labels["category"] = np.asarray([name if name in common else OTHER for name in categories])
    return labels


def by_segment(
    source: JudgedSource, pairs: Sequence[JudgedPair], scores: NDArray[np.float64], settings: Evaluation
) -> list[SegmentFigure]:
    """The source's first figure (nDCG, else its first AUC) of each segment; `scores` are of the source's pairs."""
    queries, aucs = query_metrics(source, scores, settings)[:1], auc_metrics(source, settings)[:1]
    figures = []
    for kind, labels in segment_labels(source, pairs, settings).items():
        for segment in np.unique(labels):
            inside = labels == segment
            if queries:
                figures.append(_of_queries(kind, str(segment), queries[0], inside, source, settings))
            elif aucs:
                figures.append(_of_auc(kind, str(segment), aucs[0], inside, source, scores, settings))
    return [figure for figure in figures if figure.size]


def _of_queries(
    kind: str,
    segment: str,
    metric: QueryMetric,
    inside: NDArray[np.bool_],
    source: JudgedSource,
    settings: Evaluation,
) -> SegmentFigure:
    part = QueryMetric(metric.name, metric.values[inside])
    size = int(np.isfinite(part.values).sum())
    enough = size >= settings.segment_queries
    return SegmentFigure(kind, segment, size, estimate_queries(part, source, settings) if enough else None)


def _of_auc(
    kind: str,
    segment: str,
    metric: AucMetric,
    inside: NDArray[np.bool_],
    source: JudgedSource,
    scores: NDArray[np.float64],
    settings: Evaluation,
) -> SegmentFigure:
    part = metric.only(inside[source.queries.ids[metric.rows]])
    size = int(min(part.labels.sum(), (~part.labels).sum()))
    enough = size >= settings.segment_queries
    return SegmentFigure(kind, segment, size, estimate_auc(part, source, scores, settings) if enough else None)


def _categories(source: JudgedSource, pairs: Sequence[JudgedPair]) -> list[str]:
    best = np.full(len(source.queries), -np.inf)
    np.maximum.at(best, source.queries.ids, source.targets)
    found: list[Counter[str]] = [Counter() for _ in source.queries.names]
    for row in np.flatnonzero(source.targets == best[source.queries.ids]):
        name = pairs[source.rows[row]].product.get("product_type")
        if name:
            found[source.queries.ids[row]][name] += 1
    return [counts.most_common(1)[0][0] if counts else NO_CATEGORY for counts in found]
