"""The page of a plain run: one list of samples, as a gate at one rate has it."""

from collections.abc import Sequence

from ..measure import Sample
from .figures import latency_cdf, latency_over_time, outcomes_over_time
from .page import Figure, Page, Span, Table
from .series import latencies_by_outcome


def run_page(
    title: str,
    *,
    samples: Sequence[Sample],
    conditions: Sequence[str],
    verdict: str,
    because: Sequence[str] = (),
    tables: Sequence[Table] = (),
    limit_ms: float | None = None,
) -> Page:
    """Latency over time, outcomes over time and the distribution; no pictures of no samples.

    Args:
        title: heading.
        samples: counted requests, in any order.
        conditions: what ran on what, a line each.
        verdict: one word.
        because: why, a line each.
        tables: below the verdict.
        limit_ms: the objective's p99 or the deadline, drawn as a line.
    """
    return Page(title, conditions, verdict, tables, figures_of(samples, limit_ms=limit_ms), because)


def figures_of(samples: Sequence[Sample], *, limit_ms: float | None = None, spans: Sequence[Span] = ()) -> list[Figure]:
    """The three pictures of any run."""
    if not samples:
        return []
    return [
        latency_over_time(samples, limit_ms=limit_ms, spans=spans),
        outcomes_over_time(samples, spans=spans),
        latency_cdf(latencies_by_outcome(samples), limit_ms=limit_ms),
    ]
