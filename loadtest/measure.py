"""Raw outcomes of a run and what follows from them: exact percentiles, counts by outcome, the verdict."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"
    SHED = "shed"
    """503: refused by admission."""
    LATE = "late"
    """504, or a partial answer: the deadline passed."""
    FAILED = "failed"
    """Any other status, no answer, or an answer that breaks the contract."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One counted request. Times are seconds after the start of the run, on a monotonic clock."""

    due_s: float
    sent_s: float
    done_s: float
    outcome: Outcome
    status: int | None
    reason: str | None = None

    @property
    def latency_ms(self) -> float:
        """From the scheduled time, so that a generator that is held up hides nothing."""
        return (self.done_s - self.due_s) * 1e3

    @property
    def lag_ms(self) -> float:
        """How late the generator was."""
        return (self.sent_s - self.due_s) * 1e3


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold, and how late the generator may be for the run to count."""

    p99_ms: float
    max_error_rate: float
    max_lag_ms: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of milliseconds: values that occurred, never interpolated or rounded."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all counted requests. Latencies are those of accepted requests; None where there is none."""

    requests: int
    outcomes: dict[Outcome, int]
    statuses: dict[str, int]
    reasons: dict[str, int]
    error_rate: float
    latency_ms: Distribution | None
    lag_ms: Distribution | None
    within_objective: float
    """Share of all requests that were accepted within the objective's p99."""


def percentile(values: Sequence[float], q: float) -> float:
    """The nearest-rank percentile: the smallest value with at least a share `q` of `values` at or below it."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def distribution(values: Iterable[float]) -> Distribution | None:
    """None of no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p90, p99, p999 = (percentile(ordered, q) for q in (0.5, 0.9, 0.99, 0.999))
    return Distribution(p50, p90, p99, p999, ordered[-1], math.fsum(ordered) / len(ordered))


def summarise(samples: Sequence[Sample], objective: Objective) -> Summary:
    """Counts and distributions of the samples."""
    outcomes = Counter(sample.outcome for sample in samples)
    accepted = [sample.latency_ms for sample in samples if sample.outcome is Outcome.ACCEPTED]
    count = len(samples)
    return Summary(
        requests=count,
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        statuses=dict(Counter("none" if sample.status is None else str(sample.status) for sample in samples)),
        reasons=dict(Counter(sample.reason for sample in samples if sample.reason).most_common()),
        error_rate=1 - len(accepted) / count if count else 0.0,
        latency_ms=distribution(accepted),
        lag_ms=distribution(sample.lag_ms for sample in samples),
        within_objective=sum(ms <= objective.p99_ms for ms in accepted) / count if count else 0.0,
    )


def why_invalid(summary: Summary, objective: Objective) -> list[str]:
    """Why the run answers nothing; empty if it does."""
    if summary.lag_ms is None:
        return ["no request was counted: raise the rate or the duration"]
    if summary.lag_ms.p99 > objective.max_lag_ms:
        return [
            f"the generator could not keep its schedule: 1 % of requests were sent {summary.lag_ms.p99:.2f} ms late "
            f"or more, allowed {objective.max_lag_ms:g} ms"
        ]
    return []


def what_broke(summary: Summary, objective: Objective) -> list[str]:
    """Which parts of the objective do not hold, in words; empty if all do."""
    broken = []
    if summary.latency_ms is None:
        broken.append("no request was accepted")
    elif summary.latency_ms.p99 > objective.p99_ms:
        broken.append(f"p99 {summary.latency_ms.p99:.2f} ms, objective {objective.p99_ms:g} ms")
    if summary.error_rate > objective.max_error_rate:
        broken.append(f"error rate {summary.error_rate:.4f}, objective {objective.max_error_rate:g}")
    return broken
