"""What an overload run says: a table by phase, and each promise against its target."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..generator.plan import Played
from ..measure import Distribution, distribution
from .phases import Phase, PhaseSummary, last_rejection_s, recovery_s, summarise_phase
from .trend import Slope, slope_of
from .verdict import Findings, machine_line, spread
from .watch import Histogram, Probe, Reading

_MB = 1e6
_HEADING: tuple[str, ...] = (
    *("phase", "offered/s", "goodput/s", "200", "503", "504", "failed", "200 p50/p99/max ms", "503 p50/p99/max ms"),
    *("past deadline p99/max", "ready p50/p99/max", "metrics p50/p99/max", "server cores"),
)
RECOVERED = 1.5
"""Times the p99 of the first phase."""


@dataclass(frozen=True, slots=True)
class OverloadRun:
    """Everything that was measured. Times are seconds of the schedule."""

    products: int
    deadline_ms: int
    rated: float
    phases: Sequence[Phase]
    played: Played
    ready: Sequence[Probe]
    metrics: Sequence[Probe]
    readings: Sequence[Reading]
    micro_batches: Histogram
    neighbours: str


def judge_overload(run: OverloadRun, targets: argparse.Namespace, conditions: str) -> Findings:
    """Against `targets`: what `must hold` of the options, and max_lag_ms."""
    played = run.played
    lag = distribution(sample.lag_ms for sample in played.samples)
    findings = Findings(
        "overload", [conditions, *_conditions(run, lag), run.neighbours, machine_line()], interrupted=played.stopped
    )
    if lag is None:
        findings.invalid.append("no request was sent")
        return findings
    if lag.p99 > targets.max_lag_ms:
        findings.invalid.append(
            f"the generator sent 1 % of its requests {lag.p99:.1f} ms late or more, allowed {targets.max_lag_ms:g} ms"
        )
    summaries = [
        summarise_phase(phase, played.samples, run.products, run.deadline_ms, run.ready, run.metrics, run.readings)
        for phase in run.phases
    ]
    findings.tables.append(_phase_table(summaries, run))
    loaded = [summary for summary in summaries if summary.phase.factor > 1]
    for summary in loaded:
        _judge_phase(findings, summary, run, targets, lag)
    if loaded:
        hardest = max(loaded, key=lambda summary: summary.phase.factor)
        _judge_probes(findings, hardest, targets)
        _judge_memory(findings, run, [summary.phase for summary in loaded], targets.max_growth_mb)
    _judge_recovery(findings, run, summaries, targets.max_recovery_s)
    findings.raw |= {
        "phases": [summary.as_json() for summary in summaries],
        "lag_ms": asdict(lag),
        "micro_batches": asdict(run.micro_batches)
        | {"buckets": {str(k): v for k, v in run.micro_batches.buckets.items()}},
        "readings": [asdict(reading) for reading in run.readings],
        "probes": {"ready": [asdict(p) for p in run.ready], "metrics": [asdict(p) for p in run.metrics]},
        "samples": [asdict(sample) for sample in played.samples],
    }
    return findings


def _conditions(run: OverloadRun, lag: Distribution | None) -> list[str]:
    played = run.played
    micro = run.micro_batches
    mean_ms = micro.total_s / micro.count * 1e3 if micro.count else 0.0
    count = max(1, len(played.samples))
    return [
        f"{run.products} products, deadline {run.deadline_ms} ms, Poisson arrivals; 1x = {run.rated:.1f} requests/s = "
        f"{run.rated * run.products:.0f} products/s",
        f"generator: {count} requests, {played.cpu_s / count * 1e6:.0f} us CPU each "
        f"({played.cpu_s / played.elapsed_s:.0%} of a core), {played.connections} connections, "
        f"sent late p50 / p99 / max {spread(lag)} ms",
        f"micro-batches: mean {mean_ms:.1f} ms, p99 {_bound_ms(micro, 0.99)}, longest {_bound_ms(micro, 1.0)}",
    ]


def _bound_ms(micro: Histogram, q: float) -> str:
    bound_s = micro.bound_s(q)
    return "unknown" if bound_s is None else f"up to {bound_s * 1e3:g} ms"


def _phase_table(summaries: Sequence[PhaseSummary], run: OverloadRun) -> Sequence[Sequence[str]]:
    rated = run.rated * run.products
    rows = [_HEADING]
    for each in summaries:
        late = "none" if each.late_by is None else f"{each.late_by.p99:+.1f} / {each.late_by.max:+.1f}"
        rows.append(
            (
                f"{each.phase.name} {each.phase.seconds:g} s",
                f"{each.offered_per_s:.1f}",
                f"{each.goodput_per_s:.0f} ({each.goodput_per_s / rated:.0%})",
                *(str(each.outcomes[name]) for name in ("accepted", "shed", "late", "failed")),
                spread(each.accepted),
                spread(each.rejected),
                late,
                spread(each.ready),
                spread(each.metrics),
                "unknown" if each.server_cores is None else f"{each.server_cores:.2f}",
            )
        )
    return rows


def _judge_phase(
    findings: Findings, summary: PhaseSummary, run: OverloadRun, targets: argparse.Namespace, lag: Distribution
) -> None:
    name, rated = summary.phase.name, run.rated * run.products
    share = summary.goodput_per_s / rated
    findings.judge(
        f"{name}: goodput of rated", f"{share:.1%}", f"at least {targets.min_goodput:.0%}", share >= targets.min_goodput
    )
    accepted_ms = summary.accepted.p99 if summary.accepted else None
    findings.judge(
        f"{name}: p99 of accepted",
        "none accepted" if accepted_ms is None else f"{accepted_ms:.1f} ms",
        f"at most {run.deadline_ms} ms",
        accepted_ms is not None and accepted_ms <= run.deadline_ms,
    )
    if summary.rejected is not None:
        longest_ms = summary.rejected.max
        findings.judge(
            f"{name}: every 503 (p99 {summary.rejected.p99:.1f})",
            f"{longest_ms:.1f} ms",
            f"at most {targets.max_rejection_ms:g} ms",
            longest_ms <= targets.max_rejection_ms,
        )
        values = ", ".join(f"{value} s x {count}" for value, count in list(summary.retry_after.items())[:6])
        findings.note(f"{name}: Retry-After", values)
    micro_s = run.micro_batches.bound_s(1.0)
    if summary.late_by is not None and micro_s is not None:
        allowed_ms = micro_s * 1e3 + lag.p99
        findings.judge(
            f"{name}: answers past the deadline (p99 {summary.late_by.p99:+.1f})",
            f"{summary.late_by.max:+.1f} ms",
            f"at most a micro-batch and the generator's lag, {allowed_ms:.1f} ms",
            summary.late_by.max <= allowed_ms,
        )
    failed = summary.outcomes["failed"]
    findings.judge(f"{name}: failed requests", f"{failed} {summary.reasons or ''}".strip(), "0", failed == 0)


def _judge_probes(findings: Findings, hardest: PhaseSummary, targets: argparse.Namespace) -> None:
    name = hardest.phase.name
    for path, found, most_ms in (
        ("/health/ready", hardest.ready, targets.max_ready_ms),
        ("/metrics", hardest.metrics, targets.max_metrics_ms),
    ):
        if found is not None:
            held = found.p99 <= most_ms
            findings.judge(f"{name}: {path} p99", f"{found.p99:.1f} ms", f"at most {most_ms:g} ms", held)
    failed = hardest.probes_failed
    findings.judge(f"{name}: probes not answered 200", str(failed), "0", failed == 0)


def _judge_memory(findings: Findings, run: OverloadRun, phases: Sequence[Phase], max_growth_mb: float) -> None:
    inside = [reading for reading in run.readings if any(phase.holds(reading.at_s) for phase in phases)]
    slope = slope_of([(reading.at_s, float(reading.rss_bytes)) for reading in inside])
    if slope is None:
        findings.note("memory above 1x", "unknown: too few readings")
        if run.readings:
            findings.invalid.append("memory above 1x was read too seldom: longer phases")
        return
    seconds = inside[-1].at_s - inside[0].at_s
    growth = Slope(*(value * seconds / _MB for value in (slope.value, slope.low, slope.high)))
    findings.judge(
        f"memory above 1x: growth in {seconds:.0f} s",
        f"{growth.value:+.1f} MB ({growth.low:+.1f} to {growth.high:+.1f}), peak "
        f"{max(reading.rss_bytes for reading in inside) / _MB:.0f} MB",
        f"not surely above {max_growth_mb:g} MB",
        growth.low <= max_growth_mb,
    )


def _judge_recovery(
    findings: Findings, run: OverloadRun, summaries: Sequence[PhaseSummary], max_recovery_s: float
) -> None:
    first, last = summaries[0], summaries[-1]
    overloaded = any(summary.phase.factor > 1 for summary in summaries)
    if not overloaded or first.phase.factor > 1 or last.phase.factor > 1 or first.accepted is None:
        return
    limit_ms = RECOVERED * first.accepted.p99
    recovered_s = recovery_s(run.played.samples, last.phase, limit_ms)
    findings.judge(
        f"recovery: p99 over a second at most {limit_ms:.0f} ms",
        "not recovered" if recovered_s is None else f"{recovered_s:.1f} s after the overload",
        f"within {max_recovery_s:g} s",
        recovered_s is not None and recovered_s <= max_recovery_s,
    )
    findings.note("last 503 after the overload", f"{last_rejection_s(run.played.samples, last.phase):.1f} s")
    findings.raw["recovery_s"] = recovered_s
