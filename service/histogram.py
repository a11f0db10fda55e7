"""A histogram with two sets of buckets: those that it is given, and native ones for scrapers that ask for these.

prometheus_client has the first kind alone. An observation costs a request one append: values wait on a heap, and are
counted many at once, when somebody looks or the heap is large.
"""

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

from .metric_text import Labels, as_go

SCHEMA = 3
"""Of native buckets: there are 2 ** SCHEMA to a factor of two, each 9 % wide."""

LEAST, MOST = 2.0**-13, 2.0**20
"""What is not above LEAST is one bucket, and what is above MOST is in that of MOST, so that there are few: 265."""


COUNT_AT = 256
"""Values on the heap at which they are counted."""


class Snapshot(NamedTuple):
    """What a series held at one moment.

    Attributes:
        labels: without `le`.
        bounds: of the given buckets, ascending, without the infinite one.
        counts: of each given bucket alone, that above all bounds the last.
        total: sum of all values.
        zero_count: values that are not above LEAST.
        native: counts of native buckets, by index: bucket i ends at 2 ** (i / 2 ** SCHEMA), which belongs to it.
        exemplars: the last of each given bucket, by its place in `counts`.
    """

    labels: Mapping[str, str]
    bounds: Sequence[float]
    counts: Sequence[int]
    total: float
    zero_count: int
    native: Mapping[int, int]
    exemplars: Mapping[int, Exemplar]

    @property
    def observed(self) -> int:
        """Number of all values."""
        return sum(self.counts)


class HistogramFamily(Metric):
    """What a scrape collects: samples, as of any other metric, and the snapshots that they were made of."""

    def __init__(self, name: str, documentation: str, series: "Sequence[Series]" = ()) -> None:
        super().__init__(name, documentation, "histogram")
        self.snapshots = [each.snapshot() for each in series]
        for each, snapshot in zip(series, self.snapshots, strict=True):
            self.samples += each.samples(name, snapshot)


class Series:
    """The values under one set of labels. Safe to use from several threads.

    Args:
        labels: of the series.
        bounds: upper bounds of the buckets, ascending and finite; a value on a bound is below it.
        wall_clock: Unix time in seconds, for exemplars.
    """

    def __init__(self, labels: Mapping[str, str], bounds: Sequence[float], wall_clock: Callable[[], float]) -> None:
        self._labels = Labels(labels)
        self._bounds = tuple(bounds)
        self._wall_clock = wall_clock
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._zero_count = 0
        self._native: dict[int, int] = {}
        self._exemplars: dict[int, Exemplar] = {}
        self._heap: deque[tuple[float, str | None, float]] = deque()
        self._lock = Lock()
        # Made once: a scrape has hundreds of them.
        self._bucket_labels = [Labels({**labels, "le": as_go(bound)}) for bound in (*bounds, math.inf)]

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Counts a value. The trace becomes the exemplar of its bucket."""
        self._heap.append((value, trace_id, self._wall_clock() if trace_id is not None else 0.0))
        if len(self._heap) >= COUNT_AT:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Counts what is on the heap; under the lock."""
        for _ in range(len(self._heap)):
            value, trace_id, at = self._heap.popleft()
            place = bisect_left(self._bounds, value)
            self._counts[place] += 1
            self._total += value
            if value > LEAST:
                native = math.ceil(math.log2(min(value, MOST)) * 2**SCHEMA)
                self._native[native] = self._native.get(native, 0) + 1
            else:
                self._zero_count += 1
            if trace_id is not None:
                self._exemplars[place] = Exemplar({"trace_id": trace_id}, value, at)

    def snapshot(self) -> Snapshot:
        """All of it, at one moment."""
        with self._lock:
            self._count()
            return Snapshot(
                self._labels,
                self._bounds,
                self._counts.copy(),
                self._total,
                self._zero_count,
                self._native.copy(),
                self._exemplars.copy(),
            )

    def samples(self, name: str, snapshot: Snapshot) -> list[Sample]:
        """A snapshot's, as the text formats want them: counts are cumulative."""
        samples = []
        bucket = f"{name}_bucket"
        below = 0
        for place, (labels, count) in enumerate(zip(self._bucket_labels, snapshot.counts, strict=True)):
            below += count
            samples.append(Sample(bucket, labels, below, None, snapshot.exemplars.get(place)))
        samples.append(Sample(f"{name}_count", self._labels, below))
        samples.append(Sample(f"{name}_sum", self._labels, snapshot.total))
        return samples


class Histogram:
    """A family of series, by the values of its labels. Without labels it is one series.

    Args:
        name: whole.
        documentation: in a sentence.
        bounds: upper bounds of the buckets, ascending and finite.
        labels: names.
        registry: which it joins.
        wall_clock: Unix time in seconds, for exemplars.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        labels: Sequence[str],
        registry: CollectorRegistry,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._labels = tuple(labels)
        self._wall_clock = wall_clock
        self._series: dict[tuple[str, ...], Series] = {}
        self._lock = Lock()
        if not labels:
            self.observe = self.labels().observe
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series of these values, made where there is none. Hot paths keep what they got."""
        with self._lock:
            if values not in self._series:
                labels = dict(zip(self._labels, values, strict=True))
                self._series[values] = Series(labels, self._bounds, self._wall_clock)
            return self._series[values]

    def describe(self) -> list[Metric]:
        """For the registry: its name and type."""
        return [HistogramFamily(self._name, self._documentation)]

    def collect(self) -> list[Metric]:
        """For a scrape."""
        with self._lock:
            series = list(self._series.values())
        return [HistogramFamily(self._name, self._documentation, series)]
