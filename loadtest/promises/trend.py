"""Does something grow? A slope with an interval that neighbouring readings, which are alike, do not make too narrow."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

BLOCKS = 12
# Student's t, two-sided 95 %, 10 degrees of freedom: that of 12 blocks.
_T = 2.228


@dataclass(frozen=True, slots=True)
class Slope:
    """Per unit of x, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def rise_of(values: Sequence[float]) -> float | None:
    """From the median of the first twelfth to that of the last; None of fewer than two values a twelfth.

    For counts, which move in whole steps: a slope's interval would be as wide as one of them.
    """
    if len(values) < 2 * BLOCKS:
        return None
    length = len(values) // BLOCKS
    return statistics.median(values[-length:]) - statistics.median(values[:length])


def slope_of(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Least squares over the medians of 12 equal stretches; None of fewer than two points a stretch.

    Medians because a reading may meet a passing peak; stretches because readings a second apart tell little more than
    one of them.
    """
    if len(points) < 2 * BLOCKS:
        return None
    edges = [round(index * len(points) / BLOCKS) for index in range(BLOCKS + 1)]
    blocks = [points[start:end] for start, end in pairwise(edges)]
    xs = [statistics.fmean(x for x, _ in block) for block in blocks]
    ys = [statistics.median(y for _, y in block) for block in blocks]
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    spread_x = math.fsum((x - mean_x) ** 2 for x in xs)
    if not spread_x:
        return None
    value = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread_x
    residual = math.fsum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    half = _T * math.sqrt(residual / (BLOCKS - 2) / spread_x)
    return Slope(value, value - half, value + half)
