"""Latencies as HDR histograms, which runs on several machines can be merged by.

Of microseconds from 1 to an hour at 3 significant digits, written as the HdrHistogram projects write them (V2,
compressed, base64). A percentile of one is up to a thousandth off: what a run's own report says comes from raw values.
"""

import binascii
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence

from hdrh.codec import HdrCookieException, HdrLengthException  # type: ignore[import-untyped]
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from .measure import Distribution, Outcome, Sample

UNIT = "us"
SIGNIFICANT_DIGITS = 3
_HIGHEST_US = 3_600_000_000
_US_PER_MS = 1000


def encoded(values_ms: Iterable[float]) -> str:
    """Of milliseconds; what is beyond an hour counts as an hour."""
    made = HdrHistogram(1, _HIGHEST_US, SIGNIFICANT_DIGITS)
    for value_ms in values_ms:
        made.record_value(min(max(0, round(value_ms * _US_PER_MS)), _HIGHEST_US))
    return str(made.encode().decode("ascii"))


def by_outcome(samples: Sequence[Sample]) -> dict[Outcome, str]:
    """Latencies from the scheduled time, of each outcome."""
    return {outcome: encoded(s.latency_ms for s in samples if s.outcome is outcome) for outcome in Outcome}


def merged(histograms: Iterable[str]) -> str:
    """All values of all.

    Raises:
        ValueError: one is no histogram.
    """
    whole = HdrHistogram(1, _HIGHEST_US, SIGNIFICANT_DIGITS)
    for each in histograms:
        whole.add(_decoded(each))
    return str(whole.encode().decode("ascii"))


def count_of(histogram: str) -> int:
    """Values in it. Raises ValueError."""
    return int(_decoded(histogram).get_total_count())


def distribution_of(histogram: str) -> Distribution | None:
    """Of milliseconds, rounded to the histogram's digits; None of no values. Raises ValueError."""
    found = _decoded(histogram)
    if not found.get_total_count():
        return None
    p50, p90, p99, p999 = (_percentile_us(found, q) / _US_PER_MS for q in (0.5, 0.9, 0.99, 0.999))
    return Distribution(p50, p90, p99, p999, found.get_max_value() / _US_PER_MS, found.get_mean_value() / _US_PER_MS)


def _percentile_us(found: HdrHistogram, q: float) -> int:
    """By nearest rank as in `measure.percentile`, where the library would round the rank."""
    rank = max(1, math.ceil(q * found.get_total_count()))
    for step in found.get_recorded_iterator():
        if step.total_count_to_this_value >= rank:
            return int(found.get_highest_equivalent_value(step.value_iterated_to))
    raise AssertionError("the last value has the last rank")


def described(samples: Sequence[Sample]) -> Mapping[str, object]:
    """As it stands in a report."""
    histograms = {str(outcome): histogram for outcome, histogram in by_outcome(samples).items()}
    return {"unit": UNIT, "significant_digits": SIGNIFICANT_DIGITS, **histograms}


def _decoded(histogram: str) -> HdrHistogram:
    try:
        return HdrHistogram.decode(histogram)
    except (HdrCookieException, HdrLengthException, zlib.error, binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"no HDR histogram: {str(error) or type(error).__name__}") from None
