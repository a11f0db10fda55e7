"""What a stretch of an open-loop run amounts to, from raw samples, probes and readings."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..generator.plan import OpenSample
from ..measure import Distribution, Outcome, distribution, percentile
from .watch import Probe, Reading


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the schedule at one rate."""

    name: str
    factor: float
    """Times the rated load."""
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s

    def holds(self, at_s: float) -> bool:
        """Whether a time of the schedule lies in it."""
        return self.start_s <= at_s < self.end_s


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """Milliseconds, unless named otherwise."""

    phase: Phase
    offered_per_s: float
    goodput_per_s: float
    """Products of complete answers within the deadline, by when their requests were due."""
    outcomes: dict[str, int]
    accepted: Distribution | None
    """From the scheduled time."""
    rejected: Distribution | None
    """503, from sending to answer."""
    late_by: Distribution | None
    """How much later than the deadline any answer came, from sending; below 0 is earlier."""
    retry_after: dict[str, int]
    ready: Distribution | None
    metrics: Distribution | None
    probes_failed: int
    server_cores: float | None
    """Cores that the server used."""
    reasons: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def summarise_phase(
    phase: Phase,
    samples: Sequence[OpenSample],
    products: int,
    deadline_ms: float,
    ready: Sequence[Probe],
    metrics: Sequence[Probe],
    readings: Sequence[Reading],
) -> PhaseSummary:
    """Of all that was due in the phase. Times are seconds of the schedule."""
    own = [sample for sample in samples if phase.holds(sample.due_s)]
    accepted = [sample for sample in own if sample.outcome is Outcome.ACCEPTED]
    shed = [sample for sample in own if sample.outcome is Outcome.SHED]
    in_time = sum(sample.latency_ms <= deadline_ms for sample in accepted)
    asked = [[probe for probe in probes if phase.holds(probe.due_s)] for probes in (ready, metrics)]
    inside = [reading for reading in readings if phase.holds(reading.at_s)]
    used = None
    if len(inside) > 1:
        used = (inside[-1].cpu_s - inside[0].cpu_s) / (inside[-1].at_s - inside[0].at_s)
    outcomes = Counter(str(sample.outcome) for sample in own)
    return PhaseSummary(
        phase=phase,
        offered_per_s=len(own) / phase.seconds,
        goodput_per_s=in_time * products / phase.seconds,
        outcomes={str(outcome): outcomes[str(outcome)] for outcome in Outcome},
        accepted=distribution(sample.latency_ms for sample in accepted),
        rejected=distribution(sample.answer_ms for sample in shed),
        late_by=distribution(sample.answer_ms - deadline_ms for sample in own if sample.status is not None),
        retry_after=dict(Counter(sample.retry_after or "none" for sample in shed).most_common()),
        ready=distribution(probe.latency_ms for probe in asked[0]),
        metrics=distribution(probe.latency_ms for probe in asked[1]),
        probes_failed=sum(probe.status != 200 for probes in asked for probe in probes),
        server_cores=used,
        reasons=dict(Counter(sample.reason for sample in own if sample.reason).most_common(5)),
    )


def recovery_s(
    samples: Sequence[OpenSample], after: Phase, limit_ms: float, window_s: float = 1.0, step_s: float = 0.1
) -> float | None:
    """From the start of the phase after an overload until what was due within a window has a p99 up to `limit_ms`.

    A window without an accepted request is not back. None if it never is.
    """
    accepted = [s for s in samples if s.outcome is Outcome.ACCEPTED and after.holds(s.due_s)]
    for number in range(math.floor((after.seconds - window_s) / step_s + 1e-9) + 1):
        start_s = after.start_s + number * step_s
        window = [s.latency_ms for s in accepted if start_s <= s.due_s < start_s + window_s]
        if window and percentile(window, 0.99) <= limit_ms:
            return number * step_s
    return None


def last_rejection_s(samples: Sequence[OpenSample], after: Phase) -> float:
    """From the start of a phase to its last request that got a 503; 0 of none."""
    shed = [s.due_s for s in samples if s.outcome is Outcome.SHED and after.holds(s.due_s)]
    return max(shed) - after.start_s if shed else 0.0
