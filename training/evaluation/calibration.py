"""How well probabilities fit soft targets: expected calibration error, reliability bins, Brier score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .groups import Groups


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The pairs whose predicted probability falls into one bin."""

    predicted: float
    target: float
    pairs: int


def expected_calibration_error(
    probabilities: NDArray[np.floating], targets: NDArray[np.floating], bins: int = 10
) -> float:
    """Mean over pairs of |mean probability - mean target| of the pair's bin, bins being of equal width.

    With targets of 0 and 1 this is the usual definition. Few pairs make it too high: noise in a bin counts as error.

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015.
    """
    gaps = np.bincount(_bin_of(probabilities, bins), weights=probabilities - targets, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def calibration_error_draws(
    groups: Groups,
    probabilities: NDArray[np.floating],
    targets: NDArray[np.floating],
    bins: int,
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """The calibration error of resamples of whole queries, shape (resamples,)."""
    cell = groups.ids * bins + _bin_of(probabilities, bins)
    gaps = np.bincount(cell, weights=probabilities - targets, minlength=len(groups) * bins).reshape(-1, bins)
    sizes = groups.sizes
    random = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for i in range(resamples):
        counts = np.bincount(random.integers(len(groups), size=len(groups)), minlength=len(groups))
        draws[i] = np.abs(counts @ gaps).sum() / (counts @ sizes)
    return draws


def reliability(
    probabilities: NDArray[np.floating], targets: NDArray[np.floating], bins: int = 10
) -> list[ReliabilityBin]:
    """The points of a reliability diagram: one a bin that holds pairs."""
    bin_of = _bin_of(probabilities, bins)
    sizes = np.bincount(bin_of, minlength=bins)
    predicted = np.bincount(bin_of, weights=probabilities, minlength=bins)
    target = np.bincount(bin_of, weights=targets, minlength=bins)
    return [
        ReliabilityBin(float(predicted[b] / sizes[b]), float(target[b] / sizes[b]), int(sizes[b]))
        for b in np.flatnonzero(sizes)
    ]


def brier(probabilities: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean squared difference of probability and soft target. Source: Brier, 1950."""
    return float(np.square(probabilities - targets).mean())


def _bin_of(probabilities: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    return np.clip((np.asarray(probabilities) * bins).astype(np.int64), 0, bins - 1)
