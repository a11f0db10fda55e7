"""Raw outcomes of a run and what follows from them: exact percentiles, counts by outcome, the verdict."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .timing import TOTAL, Stages


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
    server_ms: float | None = None
    """The total of the server's own Server-Timing; None where it did not say."""
    stages_ms: Stages = ()
    """Everything that it said there."""
    products: int = 0
    """Of the request."""
    deadline_ms: float | None = None
    """That the request carried; None: none."""
    sent: bool = True
    """False for an arrival that found the bound of requests in flight."""

    @property
    def latency_ms(self) -> float:
        """From the scheduled time, so that a generator that is held up hides nothing."""
        return (self.done_s - self.due_s) * 1e3

    @property
    def lag_ms(self) -> float:
        """How late the generator was."""
        return (self.sent_s - self.due_s) * 1e3

    @property
    def answer_ms(self) -> float:
        """From the moment it was sent, opening a connection included."""
        return (self.done_s - self.sent_s) * 1e3


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold, and how late the generator may be for the run to count. Rates are shares of all requests."""

    p99_ms: float | None
    """Of accepted requests, from the scheduled time; None: not judged, as with every None here."""
    max_error_rate: float
    """Of requests that were not accepted."""
    max_lag_ms: float
    p50_ms: float | None = None
    max_shed_rate: float | None = None
    max_late_rate: float | None = None
    max_failed_rate: float | None = None
    deadline_slack_ms: float = 50.0
    """An answer, of any status, that comes later than its request's deadline and this, from sending, is past it."""
    max_past_deadline: float = 0.0
    """Of answers past their deadline."""

    def past_deadline(self, sample: Sample) -> bool:
        """Whether an answer came, and came past its deadline."""
        if sample.status is None or sample.deadline_ms is None:
            return False
        return sample.answer_ms > sample.deadline_ms + self.deadline_slack_ms

    def in_time(self, sample: Sample) -> bool:
        """Whether it got a complete answer within its deadline; without one within the p99; without that at all."""
        limit_ms = self.p99_ms if sample.deadline_ms is None else sample.deadline_ms
        return sample.outcome is Outcome.ACCEPTED and (limit_ms is None or sample.latency_ms <= limit_ms)


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
class Goodput:
    """A second of the counted time, in complete answers that came in time, see `Objective.in_time`."""

    requests_per_s: float
    products_per_s: float


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What the server says of accepted requests, in milliseconds."""

    requests: int
    """That it said something of."""
    total_ms: Distribution
    outside_ms: Distribution
    """What the client waited beyond that, from sending: the network, sockets, and the client itself."""
    stages_ms: dict[str, Distribution]


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all counted requests; a distribution is None where there is nothing of its kind."""

    requests: int
    sent: int
    outcomes: dict[Outcome, int]
    statuses: dict[str, int]
    reasons: dict[str, int]
    error_rate: float
    latency_ms: Distribution | None
    """Of accepted requests."""
    by_outcome_ms: dict[Outcome, Distribution | None]
    """Latencies of each outcome, from the scheduled time."""
    lag_ms: Distribution | None
    """Of those that were sent."""
    within_objective: float
    """Share of all requests that were accepted within the objective's p99; of those accepted at all without one."""
    past_deadline: int
    """Answers that came past their deadline."""
    goodput: Goodput | None
    """None where the counted time is not known."""
    server: ServerSide | None
    """None where the server said nothing."""


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


def summarise(samples: Sequence[Sample], objective: Objective, counted_s: float | None = None) -> Summary:
    """Counts and distributions of the samples, which fell due within `counted_s`."""
    outcomes = Counter(sample.outcome for sample in samples)
    by_outcome = {outcome: [s.latency_ms for s in samples if s.outcome is outcome] for outcome in Outcome}
    accepted = by_outcome[Outcome.ACCEPTED]
    limit_ms = math.inf if objective.p99_ms is None else objective.p99_ms
    count = len(samples)
    return Summary(
        requests=count,
        sent=sum(sample.sent for sample in samples),
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        statuses=dict(Counter("none" if sample.status is None else str(sample.status) for sample in samples)),
        reasons=dict(Counter(sample.reason for sample in samples if sample.reason).most_common()),
        error_rate=(count - len(accepted)) / count if count else 0.0,
        latency_ms=distribution(accepted),
        by_outcome_ms={outcome: distribution(values) for outcome, values in by_outcome.items()},
        lag_ms=distribution(sample.lag_ms for sample in samples if sample.sent),
        within_objective=sum(ms <= limit_ms for ms in accepted) / count if count else 0.0,
        past_deadline=sum(objective.past_deadline(sample) for sample in samples),
        goodput=goodput_of(samples, objective, counted_s) if counted_s else None,
        server=server_side(samples),
    )


def goodput_of(samples: Iterable[Sample], objective: Objective, counted_s: float) -> Goodput:
    """Over `counted_s` seconds in which the samples fell due."""
    good = [sample.products for sample in samples if objective.in_time(sample)]
    return Goodput(len(good) / counted_s, sum(good) / counted_s)


def server_side(samples: Iterable[Sample]) -> ServerSide | None:
    """None where the server told no total of an accepted request."""
    told = [s for s in samples if s.outcome is Outcome.ACCEPTED and s.server_ms is not None]
    total = distribution(s.server_ms for s in told if s.server_ms is not None)
    outside = distribution(s.answer_ms - s.server_ms for s in told if s.server_ms is not None)
    if total is None or outside is None:
        return None
    by_stage: dict[str, list[float]] = {}
    for sample in told:
        for stage, ms in sample.stages_ms:
            by_stage.setdefault(stage, []).append(ms)
    stages = {stage: distribution(values) for stage, values in by_stage.items() if stage != TOTAL}
    return ServerSide(len(told), total, outside, {stage: one for stage, one in stages.items() if one})


def why_invalid(summary: Summary, objective: Objective) -> list[str]:
    """Why the run answers nothing; empty if it does."""
    if summary.requests == 0:
        return ["no request was counted: raise the rate or the duration"]
    if summary.lag_ms is None:
        return ["no request was sent"]
    if summary.lag_ms.p99 > objective.max_lag_ms:
        return [
            f"the generator could not keep its schedule: 1 % of requests were sent {summary.lag_ms.p99:.2f} ms late "
            f"or more, allowed {objective.max_lag_ms:g} ms"
        ]
    return []


def what_broke(summary: Summary, objective: Objective) -> list[str]:
    """Which parts of the objective do not hold, in words; empty if all do."""
    broken = []
    latency = summary.latency_ms
    if latency is None:
        broken.append("no request was accepted")
    else:
        for name, found_ms, most_ms in (
            ("p50", latency.p50, objective.p50_ms),
            ("p99", latency.p99, objective.p99_ms),
        ):
            if most_ms is not None and found_ms > most_ms:
                broken.append(f"{name} {found_ms:.2f} ms, objective {most_ms:g} ms")
    if summary.error_rate > objective.max_error_rate:
        broken.append(f"error rate {summary.error_rate:.4f}, objective {objective.max_error_rate:g}")
    for outcome, most in (
        (Outcome.SHED, objective.max_shed_rate),
        (Outcome.LATE, objective.max_late_rate),
        (Outcome.FAILED, objective.max_failed_rate),
    ):
        count = summary.outcomes[outcome]
        # Divided, not multiplied: 29 of 100 are .29, and .29 times 100 is less than 29.
        if most is not None and count and count / summary.requests > most:
            broken.append(f"{outcome} {count} of {summary.requests}, objective {most:g} of all")
    if summary.past_deadline and summary.past_deadline / summary.requests > objective.max_past_deadline:
        broken.append(
            f"answers past their deadline: {summary.past_deadline} (allowed {objective.deadline_slack_ms:g} ms beyond "
            f"it, and {objective.max_past_deadline:g} of all later)"
        )
    return broken
