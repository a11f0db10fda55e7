"""Fits the constants that turn a logit into a probability, and counts the reference distribution of scores."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifact import Calibration, ScoreHistogram

from .errors import ExportError

MIN_PAIRS = 20
HISTOGRAM_BINS = 20
MAX_STEPS = 100


def fit_platt(logits: ArrayLike, targets: ArrayLike, fitted_on: str) -> Calibration:
    """Platt scaling on soft targets: the slope and intercept with the smallest cross-entropy.

    Newton's method with step halving; the problem is convex. Targets are drawn towards the middle by Platt's prior
    (one relevant and one irrelevant pair more than seen), which keeps the slope finite on separable data.

    Source: Platt, 1999; Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines", 2007.

    Args:
        logits: shape (n,), finite.
        targets: shape (n,), in [0, 1].
        fitted_on: data and split, for the manifest.

    Raises:
        ExportError: the pairs cannot determine a positive slope.
    """
    x, t = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    _check(x, t)
    relevant = t.sum()
    t = t * (relevant + 1) / (relevant + 2) + (1 - t) / (len(t) - relevant + 2)
    centre, spread = x.mean(), x.std()
    z = (x - centre) / spread
    slope, intercept = _newton(z, t)
    slope /= spread
    intercept -= slope * centre
    if not slope > 0:
        raise ExportError(
            f"calibration on {fitted_on}: the fitted slope is {slope:.3g}; higher logits do not mean more relevant "
            "products there. Check the targets' direction, or train the student further"
        )
    return Calibration(slope=slope, intercept=intercept, fitted_on=fitted_on)


def score_histogram(scores: NDArray[np.float64], data: str, bins: int = HISTOGRAM_BINS) -> ScoreHistogram:
    """Counts of scores in [0, 1] over equal bins."""
    counts, _ = np.histogram(scores, bins=bins, range=(0.0, 1.0))
    return ScoreHistogram(counts=tuple(map(int, counts)), data=data)


def _newton(x: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[float, float]:
    design = np.stack((x, np.ones_like(x)), axis=1)
    theta = np.array([0.0, np.log(t.mean() / (1 - t.mean()))])
    loss = _loss(design @ theta, t)
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (p - t)
        curvature = (design * (p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-12 * len(t) * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and not (tried := _loss(design @ (theta - size * step), t)) <= loss:
            size /= 2
        theta = theta - size * step
        if loss - tried <= 1e-12 * len(t) or size <= 1e-10:
            break
        loss = tried
    return float(theta[0]), float(theta[1])


def _loss(x: NDArray[np.float64], t: NDArray[np.float64]) -> float:
    """Summed cross-entropy of sigmoid(x) against t."""
    return float((np.logaddexp(0, x) - t * x).sum())


def _check(x: NDArray[np.float64], t: NDArray[np.float64]) -> None:
    problem: str | None = None
    if x.shape != t.shape or x.ndim != 1:
        problem = f"{x.shape} logits and {t.shape} targets do not match"
    elif len(x) < MIN_PAIRS:
        problem = f"{len(x)} judged pairs are too few"
    elif not np.isfinite(x).all():
        problem = "a logit is not finite"
    elif not ((t >= 0) & (t <= 1)).all():
        problem = "a target lies outside 0 to 1"
    elif np.ptp(t) == 0:
        problem = f"every target is {t[0]:g}"
    elif np.ptp(x) < 1e-9:
        problem = "every pair has the same logit"
    if problem:
        raise ExportError(f"calibration: {problem}; expected at least {MIN_PAIRS} judged pairs of differing relevance")
