"""Tries one rate: warm-up, counted requests, drain, verdict; again where the verdict could be chance."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..client import Endpoint
from ..generator.plan import OpenSample, Plan, Played
from ..generator.process import play
from ..generator.wire import WireRequest
from ..measure import Distribution, Outcome, distribution
from ..promises.workload import arrivals_of, closed_plan, open_plan
from .criteria import Criterion, Tally

_IN_FLIGHT = 3
_WARMUP_SHARE = 0.1
_MOST_LATE = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a rate is tried: for so many requests, within bounds of time. The warm-up is a tenth of it, before."""

    requests: int
    shortest_s: float
    longest_s: float

    def counted(self, rate: float) -> float:
        """Expected number of counted requests."""
        return min(max(self.requests, self.shortest_s * rate), self.longest_s * rate)

    def times(self, factor: float) -> "Pace":
        """So many times as long."""
        return Pace(round(self.requests * factor), self.shortest_s * factor, self.longest_s * factor)


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate, tried once."""

    rate: float
    purpose: str
    """Search, confirmation or check."""
    samples: Sequence[OpenSample]
    """Counted ones."""
    tallies: Sequence[Tally]
    generator_late: bool
    """Whether 1 % of the requests were sent too late for a break to be believed."""
    start_s: float = 0.0
    end_s: float = 0.0
    """Of the counted part, on the system's monotonic clock."""

    @property
    def held(self) -> bool:
        """Whether the criterion held."""
        return bool(self.samples) and all(tally.held for tally in self.tallies)

    @property
    def sure(self) -> bool:
        """Whether the verdict is far from the limit: one part surely broken, or all surely held."""
        if not self.samples:
            return True
        if self.held:
            return all(tally.sure for tally in self.tallies)
        return any(tally.sure and not tally.held for tally in self.tallies)

    @property
    def accepted_ms(self) -> Distribution | None:
        """Latency of accepted requests."""
        return distribution(s.latency_ms for s in self.samples if s.outcome is Outcome.ACCEPTED)

    @property
    def error_rate(self) -> float:
        """Share of the requests that were not accepted."""
        errors = sum(sample.outcome is not Outcome.ACCEPTED for sample in self.samples)
        return errors / len(self.samples) if self.samples else 0.0

    def as_json(self) -> dict[str, Any]:
        """Without the samples."""
        latency = self.accepted_ms
        return {
            "rate": self.rate,
            "purpose": self.purpose,
            "requests": len(self.samples),
            "p50_ms": latency.p50 if latency else None,
            "p99_ms": latency.p99 if latency else None,
            "error_rate": self.error_rate,
            "missed": {tally.what: {"count": tally.missed, "allowed": tally.allowed} for tally in self.tallies},
            "generator_late": self.generator_late,
            "held": self.held,
            "sure": self.sure,
        }


@dataclass(slots=True)
class Examiner:
    """Tries rates on one server. Every rate gets the same pattern of arrivals for a seed, stretched to the rate."""

    endpoint: Endpoint
    requests: Sequence[WireRequest]
    criterion: Criterion
    pace: Pace
    seed: int
    max_lag_ms: float
    say: Callable[[str], object]
    repeats: int = 3
    """At most so many trials of a rate decide by majority; 1: the first one does."""
    settle_s: float = 1.0
    run: Callable[[Plan], Played] = play
    pause: Callable[[float], object] = time.sleep
    trials: list[Trial] = field(default_factory=list)
    """All of them, in order."""
    generator_cpu_s: float = 0.0
    """What the generator used for them."""

    def closed_loop(self, seconds: float) -> float:
        """Requests a second that three callers get through, without a deadline. Warms the server up, too.

        Raises:
            KeyboardInterrupt: it was stopped.
        """
        undated = [WireRequest(_without_deadline(each.data), each.products) for each in self.requests]
        played = self._play(closed_plan(self.endpoint, undated, _IN_FLIGHT, seconds))
        done = sum(sample.outcome is Outcome.ACCEPTED for sample in played.samples)
        self.say(f"closed loop, {_IN_FLIGHT} in flight: {done / played.elapsed_s:.1f} requests/s")
        return done / played.elapsed_s

    def holds(self, rate: float, purpose: str = "search", *, times: float = 1.0, seed: int | None = None) -> bool:
        """Whether the rate holds: by its first trial where that is sure, else by the majority of its trials.

        A break while the generator was late is no evidence: it is tried again, twice at most.

        Args:
            rate: requests a second.
            purpose: of the trial, for the report.
            times: so many times as long as the pace says.
            seed: of the arrivals; the examiner's own without.

        Raises:
            KeyboardInterrupt: it was stopped.
        """
        votes: list[bool] = []
        late = 0
        while True:
            trial = self._try(rate, purpose, self.pace.times(times), self.seed if seed is None else seed)
            if trial.generator_late and not trial.held and late < _MOST_LATE:
                late += 1
                continue
            votes.append(trial.held)
            if trial.sure and len(votes) == 1:
                return trial.held
            for verdict in (True, False):
                if votes.count(verdict) * 2 > self.repeats:
                    return verdict
            if len(votes) == self.repeats:
                return votes.count(True) * 2 > len(votes)

    def _try(self, rate: float, purpose: str, pace: Pace, seed: int) -> Trial:
        counted = pace.counted(rate)
        warmup_s = _WARMUP_SHARE * counted / rate
        arrivals = arrivals_of(rate, warmup_s + counted / rate, len(self.requests), seed)
        played = self._play(open_plan(self.endpoint, self.requests, arrivals))
        samples = [sample for sample in played.samples if sample.due_s >= warmup_s]
        lag = distribution(sample.lag_ms for sample in samples)
        late = lag is not None and lag.p99 > self.max_lag_ms
        start_s, end_s = played.start_s + warmup_s, played.start_s + played.elapsed_s
        trial = Trial(rate, purpose, samples, self.criterion(samples), late, start_s, end_s)
        self.trials.append(trial)
        self.say(described(trial))
        # What the server still has to do for callers that were turned away or gave up.
        self.pause(self.settle_s)
        return trial

    def _play(self, plan: Plan) -> Played:
        played = self.run(plan)
        self.generator_cpu_s += played.cpu_s
        if played.stopped:
            raise KeyboardInterrupt
        return played


def described(trial: Trial) -> str:
    """In a line."""
    latency = trial.accepted_ms
    missed = ", ".join(f"{tally.missed} {tally.what} ({tally.allowed} may)" for tally in trial.tallies if tally.missed)
    parts = [
        f"{trial.rate:.1f} requests/s, {trial.purpose}: p99 {latency.p99:.1f} ms" if latency else "nothing accepted",
        f"of {len(trial.samples)} requests {missed or 'none missed'}",
        ("held" if trial.held else "broke") + ("" if trial.sure else ", near the limit"),
    ]
    return "; ".join(parts) + ("; the generator was late" if trial.generator_late else "")


def _without_deadline(data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"x-request-timeout-ms")]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
