"""Paired comparison of two models on the same pairs: difference, interval, significance, and what could be seen."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..config.evaluation import Evaluation
from .auc import auc, weighted_auc
from .bootstrap import BATCH_NUMBERS, mean_interval, replicate, weighted_interval
from .metrics import AucMetric, ModelScores, auc_metrics, query_metrics
from .sources import JudgedSource

POWER = 0.80
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of model A minus that of model B.

    Attributes:
        low, high: 95 % percentile interval of a paired bootstrap.
        p: two-sided, not corrected for the number of comparisons.
        resolvable: the smallest true difference that this test set shows as significant (5 %) in 80 % of cases, given
            how much this difference varies; a smaller one is beyond the data.
        size: queries or pairs compared.
    """

    name: str
    value: float
    low: float
    high: float
    p: float
    resolvable: float
    data: str
    split: str
    size: int

    @property
    def significant(self) -> bool:
        """Whether p is below 5 %."""
        return self.p < 1 - LEVEL

    def as_dict(self) -> dict[str, str | float | int]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.3f}"


def compare(source: JudgedSource, a: ModelScores, b: ModelScores, settings: Evaluation) -> list[Difference]:
    """A minus B in every ranking figure of a source; both score the source's pairs."""
    found = []
    pairs = zip(query_metrics(source, a.logits, settings), query_metrics(source, b.logits, settings), strict=True)
    for one, other in pairs:
        delta = (one.values - other.values)[np.isfinite(one.values)]
        found.append(compare_queries(one.name, delta, source, settings))
    return found + [_compare_auc(m, source, a.logits, b.logits, settings) for m in auc_metrics(source, settings)]


def compare_queries(name: str, delta: NDArray[np.float64], source: JudgedSource, settings: Evaluation) -> Difference:
    """Of per-query differences, shape (queries,): bootstrap interval, and p by random flips of their signs.

    Source: Smucker, Allan and Carterette, A comparison of statistical significance tests for IR, CIKM 2007.
    """
    low, high = mean_interval(delta, settings.resamples, settings.seed)
    p = float(
        stats.permutation_test(
            (delta, np.zeros_like(delta)),
            _mean_difference,
            permutation_type="samples",
            vectorized=True,
            n_resamples=settings.permutations,
            batch=max(1, BATCH_NUMBERS // len(delta)),
            rng=np.random.default_rng(settings.seed),
        ).pvalue
    )
    error = float(delta.std(ddof=1) / np.sqrt(len(delta))) if len(delta) > 1 else float("nan")
    return Difference(name, float(delta.mean()), low, high, p, resolvable(error), source.name, source.split, len(delta))


def resolvable(standard_error: float) -> float:
    """The minimum detectable effect of a two-sided 5 % test with 80 % power: 2.80 standard errors.

    Source: Bloom, Minimum detectable effects, Evaluation Review 19 (5), 1995.
    """
    return float((stats.norm.ppf(0.5 + LEVEL / 2) + stats.norm.ppf(POWER)) * standard_error)


def _compare_auc(
    metric: AucMetric,
    source: JudgedSource,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    settings: Evaluation,
) -> Difference:
    one, other = (weighted_auc(metric.labels, scores[metric.rows]) for scores in (a, b))
    draws = replicate(lambda w: one(w) - other(w), metric.draw, settings.resamples, settings.seed)
    draws = draws[np.isfinite(draws)]
    values = [auc(scores[metric.rows][metric.labels], scores[metric.rows][~metric.labels]) for scores in (a, b)]
    # The smaller tail of the bootstrap, twice; the 1 keeps a finite number of draws from claiming p = 0.
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    low, high = weighted_interval(draws)
    error = float(draws.std(ddof=1))
    return Difference(
        metric.name, values[0] - values[1], low, high, p, resolvable(error), source.name, source.split, len(metric.rows)
    )


def _mean_difference(a: NDArray[np.float64], b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = (a - b).mean(axis=axis)
    return difference
