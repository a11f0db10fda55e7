"""From raw samples to the few hundred points that a picture can show: nothing is rounded, all of it is bounded."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..measure import Outcome, Sample, percentile

MOST_STRETCHES = 300
_WIDTHS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_CDF_POINTS = 100
_TAIL_POINTS = 20
_SHORTEST_MS = 0.01
"""A logarithmic axis has no zero."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """Values by stretches of equal length: `edges_s` has one more entry than each list, which holds NaN for nothing."""

    edges_s: Sequence[float]
    p50: Sequence[float]
    p99: Sequence[float]
    max: Sequence[float]
    count: Sequence[int]


def width_s(span_s: float) -> float:
    """Of a stretch: a second, or as much more as keeps their number to 300."""
    fitting = (width for width in _WIDTHS_S if span_s / width <= MOST_STRETCHES)
    return next(fitting, math.ceil(span_s / MOST_STRETCHES))


def edges_of(start_s: float, end_s: float) -> list[float]:
    """Of the stretches from one time to another, at least one."""
    width = width_s(end_s - start_s)
    first = math.floor(start_s / width)
    return [number * width for number in range(first, max(first + 1, math.floor(end_s / width) + 1) + 1)]


def by_stretch(points: Iterable[tuple[float, float]], edges_s: Sequence[float]) -> Stretches:
    """Nearest-rank percentiles of the values, by the stretch that their time lies in."""
    start_s, width = edges_s[0], edges_s[1] - edges_s[0]
    found: list[list[float]] = [[] for _ in edges_s[1:]]
    for at_s, value in points:
        found[min(len(found) - 1, max(0, int((at_s - start_s) / width)))].append(value)
    return Stretches(
        edges_s=edges_s,
        p50=[percentile(values, 0.5) if values else math.nan for values in found],
        p99=[percentile(values, 0.99) if values else math.nan for values in found],
        max=[max(values) if values else math.nan for values in found],
        count=[len(values) for values in found],
    )


def latencies_by_outcome(samples: Iterable[Sample]) -> dict[str, list[float]]:
    """Milliseconds from the scheduled time, of the outcomes that occurred."""
    found: dict[str, list[float]] = {str(outcome): [] for outcome in Outcome}
    for sample in samples:
        found[str(sample.outcome)].append(drawable_ms(sample.latency_ms))
    return {name: values for name, values in found.items() if values}


def drawable_ms(latency_ms: float) -> float:
    """At least a hundredth."""
    return max(_SHORTEST_MS, latency_ms)


def cumulative(values: Sequence[float]) -> list[tuple[float, float]]:
    """(value, share of values at or below it): every value, or of many those at 100 even shares and at 20 of the tail.

    The least and the greatest are among them.
    """
    ordered = sorted(values)
    count = len(ordered)
    if count <= _CDF_POINTS + _TAIL_POINTS:
        ranks = set(range(1, count + 1))
    else:
        ranks = {max(1, round(number * count / _CDF_POINTS)) for number in range(_CDF_POINTS + 1)}
        # The last hundredth is what a tail is about: ever closer to the greatest.
        ranks |= {count - round(count / 100 * (1 - number / _TAIL_POINTS) ** 3) for number in range(_TAIL_POINTS + 1)}
    return [(ordered[rank - 1], rank / count) for rank in sorted(ranks)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 300 points: of more, the highest of each of 300 runs of neighbours."""
    if len(points) <= MOST_STRETCHES:
        return list(points)
    cuts = [round(number * len(points) / MOST_STRETCHES) for number in range(MOST_STRETCHES + 1)]
    runs = (points[start:end] for start, end in pairwise(cuts))
    return [max(run, key=lambda point: point[1]) for run in runs]


def span_of(series: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """First and last time of all."""
    times = [at_s for points in series.values() for at_s, _ in points]
    return min(times), max(times)
