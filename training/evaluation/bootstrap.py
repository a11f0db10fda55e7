"""Bootstrap: 95 % percentile intervals of means and of weighted figures, the same for the same seed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .groups import Groups

LEVEL = 0.95
BATCH_NUMBERS = 1 << 20

Draw = Callable[[np.random.Generator], NDArray[np.float64]]
"""How often each row is taken into one resample, shape (rows,)."""


def mean_interval(values: NDArray[np.float64], resamples: int, seed: int) -> tuple[float, float]:
    """Interval of the mean of values, shape (n,); of a single value, that value twice.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if len(values) < 2:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,),
        np.mean,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=LEVEL,
        method="percentile",
        batch=max(1, BATCH_NUMBERS // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def weighted_interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """Interval from a figure's bootstrap replicates, shape (resamples,); NaN ones are left out."""
    low, high = np.nanpercentile(replicates, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def draw_pairs(labels: NDArray[np.bool_]) -> Draw:
    """Draws rows, positives among positives and negatives among negatives."""
    sides = [np.flatnonzero(labels), np.flatnonzero(~labels)]

    def draw(random: np.random.Generator) -> NDArray[np.float64]:
        weights = np.zeros(len(labels))
        for rows in sides:
            weights[rows] = np.bincount(random.integers(len(rows), size=len(rows)), minlength=len(rows))
        return weights

    return draw


def draw_queries(groups: Groups) -> Draw:
    """Draws whole queries, because the rows of one query are not independent."""

    def draw(random: np.random.Generator) -> NDArray[np.float64]:
        counts = np.bincount(random.integers(len(groups), size=len(groups)), minlength=len(groups))
        return counts[groups.ids].astype(np.float64)

    return draw


def replicate(
    figure: Callable[[NDArray[np.float64]], float], draw: Draw, resamples: int, seed: int
) -> NDArray[np.float64]:
    """A figure of row weights under `resamples` draws, shape (resamples,)."""
    random = np.random.default_rng(seed)
    return np.asarray([figure(draw(random)) for _ in range(resamples)])
