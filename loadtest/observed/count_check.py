"""What the generator counted against what the service's counters grew by: equal, or broken."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..benchmarks.observed import Counters
from ..generator.plan import OpenSample, Played
from ..measure import Outcome
from ..promises.verdict import Findings

_PREFIX = "shelfscore_"
_INVALID = {
    400: "not_json",
    401: "unauthorized",
    404: "unknown_model",
    413: "too_large",
    415: "unsupported_media",
    422: "schema",
}
OUTCOMES = ("scored", "partial", "shed", "late", "invalid", "failed", "gone")
_ROUNDING_S = 1e-6
"""Of a duration in the header server-timing."""

_STAGES = {"queue": ("queue",), "tokenize": ("tokenize", "encode"), "inference": ("inference",)}
"""What the header says, and under which stages the service counts it."""


@dataclass(slots=True)
class Told:
    """What a generator counted of its own requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    """By reason."""
    statuses: Counter[str] = field(default_factory=Counter)
    products: int = 0
    """Of requests that were scored whole."""
    read: int = 0
    """Requests whose body was sound, as far as their answers tell."""
    read_products: int = 0
    stages_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Sums of server-timing."""
    timed: int = 0
    """Answers that had it."""
    scored_s: float = 0.0
    """Sum of what scored requests took, from sending to the answer."""
    unexplained: Counter[str] = field(default_factory=Counter)
    """What no counter can be held against."""

    @classmethod
    def of(cls, played: Played) -> "Told":
        """Of everything that was sent."""
        told = cls()
        for sample in played.samples:
            told._add(sample)
        told.outcomes["gone"] += played.abandoned
        told.statuses["499"] += played.abandoned
        if played.unfinished:
            told.unexplained["unanswered at the end"] += played.unfinished
        return told

    def _add(self, sample: OpenSample) -> None:
        outcome = _outcome(sample)
        if outcome is None:
            self.unexplained[sample.reason or f"status {sample.status}"] += 1
            return
        assert sample.status is not None
        self.outcomes[outcome] += 1
        self.statuses[str(sample.status)] += 1
        if outcome == "invalid":
            self.invalid[_INVALID[sample.status]] += 1
        if outcome == "scored":
            self.products += sample.products
            self.scored_s += sample.answer_ms / 1e3
        if outcome in ("scored", "partial", "failed"):
            self.read += 1
            self.read_products += sample.products
        if sample.stages_ms:
            self.timed += 1
            for stage, ms in sample.stages_ms:
                self.stages_s[stage] += ms / 1e3


def _outcome(sample: OpenSample) -> str | None:
    """By the contract; None where it says nothing of such an answer."""
    status = sample.status
    if status == 200:
        return {Outcome.ACCEPTED: "scored", Outcome.LATE: "partial"}.get(sample.outcome)
    if status in _INVALID:
        return "invalid"
    return {503: "shed", 504: "late", 500: "failed"}.get(status or 0)


@dataclass(frozen=True, slots=True)
class Grown:
    """What counters grew by between two scrapes."""

    before: Counters
    after: Counters

    def __call__(self, name: str, **labels: str) -> float:
        """One sample; 0 where it is missing."""
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        sample = f"{_PREFIX}{name}{{{shown}}}" if shown else f"{_PREFIX}{name}"
        return self.after.get(sample, 0.0) - self.before.get(sample, 0.0)

    def by(self, name: str, label: str, **labels: str) -> Mapping[str, float]:
        """Sums of a family by the values of a label, among samples that have these labels; without zeros."""
        sums: defaultdict[str, float] = defaultdict(float)
        for sample in self.after:
            if sample.startswith(f"{_PREFIX}{name}{{"):
                found = dict(part.split("=", 1) for part in sample.partition("{")[2].rstrip("}").split(","))
                if all(found.get(key) == f'"{value}"' for key, value in labels.items()):
                    value = found.get(label, "").strip('"')
                    sums[value] += self.after[sample] - self.before.get(sample, 0.0)
        return {value: count for value, count in sums.items() if count}


def judge_counts(findings: Findings, part: str, told: Told, grown: Grown) -> None:
    """Whatever was sent: each request once, under its outcome, its status and its reason."""
    for reason, count in told.unexplained.items():
        findings.invalid.append(f"{part}: {count} x {reason}: the generator cannot say what became of them")
    outcomes = grown.by("score_requests_total", "outcome")
    for outcome in OUTCOMES:
        _equal(findings, f"{part}: {outcome}", told.outcomes[outcome], outcomes.get(outcome, 0.0))
    _equal(findings, f"{part}: all", sum(told.outcomes.values()), sum(outcomes.values()))
    reasons = grown.by("score_requests_total", "reason", outcome="invalid")
    for reason in sorted({*told.invalid, *reasons}):
        _equal(findings, f"{part}: invalid, {reason}", told.invalid[reason], reasons.get(reason, 0.0))
    for outcome in OUTCOMES:
        timed = grown("score_duration_seconds_count", outcome=outcome)
        _equal(findings, f"{part}: durations of {outcome}", told.outcomes[outcome], timed)
    statuses = grown.by("requests_total", "status", route="/score")
    for status in sorted({*told.statuses, *statuses}):
        _equal(findings, f"{part}: status {status}", told.statuses[status], statuses.get(status, 0.0))
    _judge_stages(findings, part, told, grown)


def judge_calm(findings: Findings, part: str, told: Told, grown: Grown) -> None:
    """Where nothing was refused, late or abandoned: products, pairs and tokens too."""
    busy = [outcome for outcome in OUTCOMES if outcome not in ("scored", "invalid") and told.outcomes[outcome]]
    if busy:
        findings.invalid.append(f"{part}: some requests were {' or '.join(busy)}: a lower --calm-rate")
        return
    _equal(findings, f"{part}: products", told.read_products, grown("request_products_sum"))
    _equal(findings, f"{part}: requests read", told.read, grown("request_products_count"))
    _equal(findings, f"{part}: pairs scored", told.products, grown("scored_pairs_total"))
    tokens = grown("tokens_total", kind="text")
    _equal(findings, f"{part}: tokens, by micro-batch and by request", grown("request_tokens_sum"), tokens)
    server_s = grown("score_duration_seconds_sum", outcome="scored")
    least_s = told.stages_s["total"] - _ROUNDING_S * told.timed
    findings.judge(
        f"{part}: seconds of scored requests",
        f"{server_s:.4f}",
        f"from {least_s:.4f} (server-timing) to {told.scored_s:.4f} (the caller's)",
        least_s <= server_s <= told.scored_s,
    )


def _judge_stages(findings: Findings, part: str, told: Told, grown: Grown) -> None:
    """The header server-timing and the histograms come of one measurement."""
    for stage, parts in _STAGES.items():
        counted_s = sum(grown("stage_duration_seconds_sum", stage=each) for each in parts)
        findings.judge(
            f"{part}: seconds of {stage}",
            f"{counted_s:.4f}",
            f"{told.stages_s[stage]:.4f} (server-timing)",
            math.isclose(counted_s, told.stages_s[stage], abs_tol=_ROUNDING_S * (told.timed + 1)),
        )
        count = grown("stage_duration_seconds_count", stage=parts[0])
        _equal(findings, f"{part}: answers with {stage}", told.timed, count)


def judge_seen(findings: Findings, parts: Sequence[Told], expected: Sequence[str]) -> None:
    """A run without an outcome proves nothing of it."""
    for outcome in expected:
        if not any(told.outcomes[outcome] for told in parts):
            findings.invalid.append(f"no request was {outcome}: nothing is known of how those are counted")


def _equal(findings: Findings, what: str, sent: float, counted: float) -> None:
    findings.judge(what, f"{counted:g}", f"{sent:g}", counted == sent)
