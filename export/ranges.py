"""Measures activation ranges on calibration pairs, and proposes what each 8-bit range should cover."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .graph import Floats
from .quantise import ActivationRange
from .runtime import EncodedPairs, read_by

BINS = 4096
SHRINKS = np.linspace(1.0, 0.3, 36)
"""Parts of the full range that the squared-error search tries at either end."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values of one tensor at real tokens: counts over equal bins from `low` to `high`."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2


def full(histogram: Histogram) -> ActivationRange:
    """From the smallest to the largest value seen."""
    return ActivationRange.covering(histogram.low, histogram.high)


def percentile(share: float) -> Callable[[Histogram], ActivationRange]:
    """Leaves out the given share of values at either end."""

    def cover(histogram: Histogram) -> ActivationRange:
        below = np.cumsum(histogram.counts) / histogram.counts.sum()
        low, high = np.searchsorted(below, (share, 1 - share))
        centres = histogram.centres()
        return ActivationRange.covering(float(centres[low]), float(centres[min(high, len(centres) - 1)]))

    return cover


def squared_error(histogram: Histogram) -> ActivationRange:
    """The range whose rounding and clipping together have the smallest mean squared error."""

    def error(candidate: ActivationRange) -> float:
        integers = np.clip(np.round(centres / candidate.scale) + candidate.zero_point, 0, 255)
        restored = (integers - candidate.zero_point) * candidate.scale
        return float((histogram.counts * (restored - centres) ** 2).sum())

    centres = histogram.centres()
    best = full(histogram)
    for _ in range(2):  # the two ends in turn
        for end in ("high", "low"):
            low, high = _bounds(best)
            tried = [
                ActivationRange.covering(low, histogram.high * s)
                if end == "high"
                else ActivationRange.covering(histogram.low * s, high)
                for s in SHRINKS
            ]
            best = min((best, *tried), key=error)
    return best


METHODS: Mapping[str, Callable[[Histogram], ActivationRange]] = {
    "min-max": full,
    "percentile 99.999": percentile(1e-5),
    "percentile 99.99": percentile(1e-4),
    "squared error": squared_error,
}


def measure(session: ort.InferenceSession, taps: Mapping[str, str], pairs: EncodedPairs) -> dict[str, Histogram]:
    """Histograms of every tap over the pairs' real tokens; padding does not count.

    Args:
        session: the float graph with its taps exposed.
        taps: tag -> output name.
    """
    bounds = dict.fromkeys(taps, (np.inf, -np.inf))
    for values in _passes(session, taps, pairs):
        for tag, array in values.items():
            low, high = bounds[tag]
            bounds[tag] = (min(low, float(array.min())), max(high, float(array.max())))
    counts = {tag: np.zeros(BINS, np.int64) for tag in taps}
    for values in _passes(session, taps, pairs):
        for tag, array in values.items():
            counts[tag] += np.histogram(array, bins=BINS, range=bounds[tag])[0]
    return {tag: Histogram(*bounds[tag], counts[tag]) for tag in taps}


def _passes(session: ort.InferenceSession, taps: Mapping[str, str], pairs: EncodedPairs) -> Iterator[dict[str, Floats]]:
    for rows in pairs.micro_batches():
        feeds = pairs.feeds(rows)
        real = feeds["attention_mask"].reshape(-1).astype(bool)
        outputs: list[Floats] = session.run(list(taps.values()), read_by(session, feeds))
        yield {
            tag: output[real] if len(output) == len(real) else output for tag, output in zip(taps, outputs, strict=True)
        }


def _bounds(found: ActivationRange) -> tuple[float, float]:
    scale, zero_point = float(found.scale), int(found.zero_point)
    return -zero_point * scale, (255 - zero_point) * scale
