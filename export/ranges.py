"""Measures activations on calibration pairs, and proposes what each 8-bit range should cover."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from scipy import stats

from .graph import Floats
from .quantise import ActivationRange
from .runtime import Encoded, Feeds, read_by

BINS = 4096
SHRINKS = np.linspace(1.0, 0.3, 36)
"""Parts of the full range that the searches try."""
SMALLEST_COUNT = 1e-4
"""Keeps a divergence finite where rounding leaves a bin empty."""


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


def entropy(histogram: Histogram) -> ActivationRange:
    """The range whose integers keep most of the distribution: the smallest Kullback-Leibler divergence.

    What is clipped is counted at the range's ends; each integer's count is spread evenly over the bins that it stands
    for and that hold values. Both ends shrink together.

    Source: Migacz, 8-bit inference with TensorRT, GTC 2017.
    """
    centres, counts = histogram.centres(), histogram.counts.astype(np.float64)

    def divergence(candidate: ActivationRange) -> float:
        low, high = _bounds(candidate)
        integers = np.clip(np.round(centres / candidate.scale) + candidate.zero_point, 0, 255).astype(np.int64)
        inside = (centres >= low) & (centres <= high)
        clipped = np.where(inside, counts, 0.0)
        first, last = np.flatnonzero(inside)[[0, -1]]
        clipped[first] += counts[:first].sum()
        clipped[last] += counts[last + 1 :].sum()
        held = (counts > 0) & inside
        mass, bins = (np.bincount(integers[held], values[held], 256) for values in (counts, np.ones(len(counts))))
        spread = np.where(held, (mass / np.maximum(bins, 1))[integers], 0.0)
        return float(stats.entropy(clipped + SMALLEST_COUNT, spread + SMALLEST_COUNT))

    candidates = [ActivationRange.covering(histogram.low * s, histogram.high * s) for s in SHRINKS]
    return min(candidates, key=divergence)


METHODS: Mapping[str, Callable[[Histogram], ActivationRange]] = {
    "min-max": full,
    "percentile 99.999": percentile(1e-5),
    "percentile 99.99": percentile(1e-4),
    "squared error": squared_error,
    "entropy": entropy,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one operand of products was over the pairs' real tokens.

    Attributes:
        largest: of the absolute values by channel, (inner,).
    """

    histogram: Histogram
    largest: Floats


def measure(
    session: ort.InferenceSession,
    taps: Mapping[str, str],
    pairs: Encoded,
    divisors: Mapping[str, Floats] | None = None,
) -> dict[str, Measured]:
    """Histograms and channel maxima of every tap over the pairs' real tokens; padding does not count.

    Args:
        session: the float graph with its taps exposed.
        taps: tag -> output name.
        divisors: by channel, of the taps that are smoothed.
    """
    by = divisors or {}
    low, high = dict.fromkeys(taps, np.inf), dict.fromkeys(taps, -np.inf)
    largest: dict[str, Floats] = {}
    for values in _passes(session, taps, pairs, by):
        for tag, array in values.items():
            low[tag], high[tag] = min(low[tag], float(array.min())), max(high[tag], float(array.max()))
            channels = np.abs(array).max(axis=0)
            largest[tag] = np.maximum(largest.get(tag, channels), channels)
    counts = {tag: np.zeros(BINS, np.int64) for tag in taps}
    for values in _passes(session, taps, pairs, by):
        for tag, array in values.items():
            counts[tag] += np.histogram(array, bins=BINS, range=(low[tag], high[tag]))[0]
    return {tag: Measured(Histogram(low[tag], high[tag], counts[tag]), largest[tag]) for tag in taps}


def _passes(
    session: ort.InferenceSession, taps: Mapping[str, str], pairs: Encoded, divisors: Mapping[str, Floats]
) -> Iterator[dict[str, Floats]]:
    for rows in pairs.micro_batches():
        feeds = pairs.feeds(rows)
        outputs: list[Floats] = session.run(list(taps.values()), read_by(session, feeds))
        values = dict(zip(taps, (_real(out, feeds) for out in outputs), strict=True))
        yield {tag: array / divisors[tag] if tag in divisors else array for tag, array in values.items()}


def _real(values: Floats, feeds: Feeds) -> Floats:
    """Rows of tokens without those of padding; rows of texts as they are."""
    mask = feeds.get("attention_mask")
    return values[mask.reshape(-1).astype(bool)] if mask is not None and len(values) == mask.size else values


def _bounds(found: ActivationRange) -> tuple[float, float]:
    scale, zero_point = float(found.scale), int(found.zero_point)
    return -zero_point * scale, (255 - zero_point) * scale
