"""The figures of one model on one judgement source, each with its 95 % bootstrap interval."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from artifact.calibration import Calibration

from ..config.evaluation import Evaluation
from .auc import auc, weighted_auc
from .bootstrap import Draw, draw_pairs, draw_queries, mean_interval, replicate, weighted_interval
from .calibration import calibration_error_draws, expected_calibration_error
from .groups import Groups
from .ranking import ndcg, ndcg_by_query, reciprocal_rank_by_query
from .sources import JudgedSource

__all__ = [
    "AucMetric",
    "Estimate",
    "ModelScores",
    "QueryMetric",
    "auc",
    "auc_metrics",
    "estimate_auc",
    "estimate_calibration",
    "estimate_queries",
    "measure",
    "ndcg",
    "query_metrics",
    "ranking_estimates",
]


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


@dataclass(frozen=True, slots=True, eq=False)
class ModelScores:
    """A model's output for pairs.

    Attributes:
        logits: shape (pairs,); any scores that rank where `calibration` is None.
        calibration: from logits to probabilities of relevance; the identity `Calibration()` is the plain sigmoid.
            None: the scores are not logits of a probability, and no calibration error is measured.
        served: probabilities that a service gave, shape (pairs,), in place of `calibration`.
    """

    logits: NDArray[np.float64]
    calibration: Calibration | None = None
    served: NDArray[np.float64] | None = None

    def of(self, source: JudgedSource) -> "ModelScores":
        """The scores of one source's pairs."""
        served = None if self.served is None else self.served[source.rows]
        return ModelScores(self.logits[source.rows], self.calibration, served)

    def probabilities(self) -> NDArray[np.float64] | None:
        """Calibrated probabilities, shape (pairs,), or None."""
        if self.served is not None:
            return self.served
        return None if self.calibration is None else self.calibration.scores(self.logits)


@dataclass(frozen=True, slots=True, eq=False)
class QueryMetric:
    """A metric whose mean over queries is reported: `values`, shape (queries,), NaN where a query has none."""

    name: str
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AucMetric:
    """An AUC: which rows of the source are compared, which of them are positive, and how a bootstrap draws them.

    `queries` is the query of each row where whole queries are drawn, else None: pairs are.
    """

    name: str
    rows: NDArray[np.int64]
    labels: NDArray[np.bool_]
    queries: Groups | None = None

    @property
    def draw(self) -> Draw:
        """How a bootstrap draws the rows."""
        return draw_pairs(self.labels) if self.queries is None else draw_queries(self.queries)

    def only(self, kept: NDArray[np.bool_]) -> "AucMetric":
        """The same figure of some of the rows: a mask, shape (rows,)."""
        queries = None if self.queries is None else self.queries.subset(kept).groups
        return AucMetric(self.name, self.rows[kept], self.labels[kept], queries)


def query_metrics(source: JudgedSource, scores: NDArray[np.float64], settings: Evaluation) -> list[QueryMetric]:
    """nDCG@k and MRR of a source that names gains; none where no query has differing grades."""
    if source.gains is None:
        return []
    relevant = source.targets >= source.relevant_from(settings.relevant_target)
    metrics = [
        QueryMetric(f"nDCG@{settings.depth}", ndcg_by_query(source.queries, scores, source.gains, settings.depth)),
        QueryMetric("MRR", reciprocal_rank_by_query(source.queries, scores, relevant)),
    ]
    return [metric for metric in metrics if np.isfinite(metric.values).any()]


def auc_metrics(source: JudgedSource, settings: Evaluation, overall: bool = True) -> list[AucMetric]:
    """The AUCs that a source names; with `overall` also that of all its pairs, by one threshold on the soft target.

    The latter says how well one global threshold on the score parts relevant pairs from others across queries. It is
    left out where the source names it. Its bootstrap draws queries; the others draw pairs.
    """
    metrics = []
    threshold = source.relevant_from(settings.relevant_target)
    relevant = {grade for grade, target in source.settings.targets.items() if target >= threshold}
    for positive, negative in source.settings.auc:
        overall &= (set(positive), set(negative)) != (relevant, set(source.settings.targets) - relevant)
        rows = np.flatnonzero(np.isin(source.grades, (*positive, *negative)))
        labels = np.isin(source.grades[rows], positive)
        metrics.append(AucMetric(f"AUC {'+'.join(positive)} against {'+'.join(negative)}", rows, labels))
    if overall:
        labels = source.targets >= threshold
        name = f"AUC of all pairs, target >= {threshold:g}"
        metrics.append(AucMetric(name, np.arange(len(labels)), labels, source.queries))
    return [metric for metric in metrics if metric.labels.any() and not metric.labels.all()]


def estimate_queries(metric: QueryMetric, source: JudgedSource, settings: Evaluation) -> Estimate:
    """The mean over the queries that have a value; the bootstrap draws queries."""
    values = metric.values[np.isfinite(metric.values)]
    low, high = mean_interval(values, settings.resamples, settings.seed)
    return Estimate(metric.name, float(values.mean()), low, high, source.name, source.split, len(values))


def estimate_auc(
    metric: AucMetric, source: JudgedSource, scores: NDArray[np.float64], settings: Evaluation
) -> Estimate:
    """An AUC with its interval."""
    own = scores[metric.rows]
    draws = replicate(weighted_auc(metric.labels, own), metric.draw, settings.resamples, settings.seed)
    low, high = weighted_interval(draws)
    value = auc(own[metric.labels], own[~metric.labels])
    return Estimate(metric.name, value, low, high, source.name, source.split, len(own))


def estimate_calibration(source: JudgedSource, probabilities: NDArray[np.float64], settings: Evaluation) -> Estimate:
    """The expected calibration error against soft targets; the bootstrap draws queries."""
    value = expected_calibration_error(probabilities, source.targets, settings.bins)
    draws = calibration_error_draws(
        source.queries, probabilities, source.targets, settings.bins, settings.resamples, settings.seed
    )
    return Estimate("ECE", value, *weighted_interval(draws), source.name, source.split, len(probabilities))


def ranking_estimates(
    source: JudgedSource, scores: NDArray[np.float64], settings: Evaluation, more: bool = False
) -> list[Estimate]:
    """nDCG and the AUCs that the source names; with `more` also MRR and the AUC of all pairs."""
    metrics = [m for m in query_metrics(source, scores, settings) if more or m.name != "MRR"]
    estimates = [estimate_queries(metric, source, settings) for metric in metrics]
    return estimates + [estimate_auc(m, source, scores, settings) for m in auc_metrics(source, settings, overall=more)]


def measure(source: JudgedSource, scores: ModelScores, settings: Evaluation) -> list[Estimate]:
    """Every figure of a model on a source; `scores` are of the source's pairs."""
    estimates = ranking_estimates(source, scores.logits, settings, more=True)
    probabilities = scores.probabilities()
    if probabilities is not None:
        estimates.append(estimate_calibration(source, probabilities, settings))
    return estimates
