"""What an `slo` run says: a short text, and JSON with every raw sample."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import Exit, LoadtestError
from .histograms import described
from .measure import Distribution, Outcome, Sample, Summary, summarise, what_broke, why_invalid
from .metering import Reading, Used, used_between
from .options import RunOptions


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or interrupted run."""

    host: str
    options: RunOptions
    arrivals: str
    """In words."""
    traffic: str
    """In words."""
    planned: int
    """Counted requests of the schedule."""
    counted_s: float
    """Time in which they fall due."""
    samples: Sequence[Sample]
    unfinished: int
    """Counted requests sent but neither answered nor timed out when the run was interrupted."""
    elapsed_s: float
    generator_cpu_s: float
    interrupted: bool
    readings: Sequence[Reading] = ()
    """Of the server's process; seconds of the run."""

    @property
    def used(self) -> Used | None:
        """By the server's process in the counted time; None where it was not read."""
        start_s = self.options.warmup_s
        return used_between(self.readings, start_s, start_s + self.counted_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the run ends, and why in words."""

    exit: Exit
    because: Sequence[str]


def judge(run: Run, summary: Summary) -> Verdict:
    """A run that the generator spoiled answers nothing, whatever it measured."""
    if run.interrupted:
        return Verdict(Exit.INTERRUPTED, [f"interrupted after {run.elapsed_s:.1f} s: measured so far, not judged"])
    broken = what_broke(summary, run.options.objective)
    invalid = why_invalid(summary, run.options.objective)
    if run.options.pid and run.used is None:
        invalid.append(f"the process {run.options.pid} could not be read during the run")
    if summary.requests != run.planned:
        invalid.append(f"{run.planned} arrivals were planned and {summary.requests} accounted for")
    elif summary.sent < run.planned and not broken:
        # Unanswered requests that pile up are the server's fault, and broke the error rate unless that allows for it.
        invalid.append(
            f"{run.planned - summary.sent} of {run.planned} planned arrivals were not sent: the load was not offered"
        )
    if invalid:
        return Verdict(Exit.INVALID, [*invalid, *(f"for what it is worth, {problem}" for problem in broken)])
    if broken:
        return Verdict(Exit.BROKEN, broken)
    return Verdict(Exit.HELD, [])


def summarise_run(run: Run) -> tuple[Summary, Verdict]:
    """Summary and verdict."""
    summary = summarise(run.samples, run.options.objective, run.counted_s)
    return summary, judge(run, summary)


def as_text(run: Run, summary: Summary, verdict: Verdict) -> str:
    """Some twenty lines for people."""
    options = run.options
    lines = [
        f"{run.host}/score",
        f"  traffic   {run.traffic}",
        f"  arrivals  open loop, {run.arrivals}; {options.warmup_s:g} s of warm-up, then {run.counted_s:g} s counted, "
        f"seed {options.seed}: {run.planned} planned, {summary.requests} counted",
        f"  schedule  {summary.sent} of {run.planned} planned sent, late by {_line(summary.lag_ms)} (p99 at most "
        f"{options.objective.max_lag_ms:g}); generator used {run.generator_cpu_s / max(run.elapsed_s, 1e-9):.0%} of a "
        "core",
        f"  outcomes  {_outcomes(summary, options)}",
        *_latencies(summary),
        *_goodput(summary, options),
        *_server(run, summary),
    ]
    lines += [f"  failure   {count} x {reason}" for reason, count in list(summary.reasons.items())[:5]]
    if run.unfinished:
        lines.append(f"  unfinished {run.unfinished}")
    heading = {Exit.HELD: "HELD", Exit.BROKEN: "BROKEN", Exit.INVALID: "INVALID RUN"}.get(verdict.exit, "INTERRUPTED")
    lines.append(f"{heading}: {'; '.join(verdict.because) or _held(options)}")
    return "\n".join(lines) + "\n"


def _held(options: RunOptions) -> str:
    judged = [
        f"{name} {most_ms:g} ms"
        for name, most_ms in (("p50", options.objective.p50_ms), ("p99", options.objective.p99_ms))
        if most_ms is not None
    ]
    return f"the objective holds ({', '.join(judged) or 'latency not judged'}, errors, schedule)"


def _outcomes(summary: Summary, options: RunOptions) -> str:
    found = summary.outcomes
    parts = []
    for outcome, answer, most in (
        (Outcome.ACCEPTED, "", None),
        (Outcome.SHED, " (503)", options.max_shed_rate),
        (Outcome.LATE, " (504, partial)", options.max_late_rate),
        (Outcome.FAILED, "", options.max_failed_rate),
    ):
        budget = "" if most is None else f" (at most {most:g} of all)"
        parts.append(f"{outcome}{answer} {found[outcome]}{budget}")
    return f"{', '.join(parts)}: error rate {summary.error_rate:.4f} (at most {options.max_error_rate:g})"


def _latencies(summary: Summary) -> list[str]:
    shown = ((outcome, values) for outcome, values in summary.by_outcome_ms.items() if values is not None)
    lines = [f"  latency   {outcome} {_line(values)}" for outcome, values in shown]
    return [*lines, "            from the scheduled time, not rounded"] if lines else ["  latency   none"]


def _goodput(summary: Summary, options: RunOptions) -> list[str]:
    lines = []
    if summary.goodput is not None:
        limit = "the deadline" if options.deadline_ms else f"{options.p99_ms:g} ms" if options.p99_ms else "any time"
        lines.append(
            f"  goodput   {summary.goodput.products_per_s:.1f} products/s in {summary.goodput.requests_per_s:.2f} "
            f"complete answers/s within {limit}"
        )
    if options.p99_ms:
        share = f"{summary.within_objective:.2%} of all requests accepted within {options.p99_ms:g} ms"
        lines.append(f"  in time   {share}")
    if options.deadline_ms or summary.past_deadline:
        lines.append(
            f"  deadline  {summary.past_deadline} answers more than {options.deadline_slack_ms:g} ms past theirs"
        )
    return lines


def _server(run: Run, summary: Summary) -> list[str]:
    lines = []
    if told := summary.server:
        stages = "".join(f", {stage} {one.p50:.2f}/{one.p99:.2f}" for stage, one in told.stages_ms.items())
        lines += [
            f"  server    says of {told.requests} accepted, p50/p99 ms: total {told.total_ms.p50:.2f}/"
            f"{told.total_ms.p99:.2f}{stages}",
            f"            outside it the client waited {told.outside_ms.p50:.2f}/{told.outside_ms.p99:.2f} more",
        ]
    if used := run.used:
        mb = [size / 1e6 for size in (used.first_bytes, used.last_bytes, used.most_bytes)]
        lines.append(
            f"  process   {run.options.pid} used {used.cores:.2f} cores; memory {mb[0]:.1f} MB at first, {mb[1]:.1f} "
            f"at last, {mb[2]:.1f} at most"
        )
    return lines


def as_json(run: Run, summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """Everything: options, summary, verdict, raw samples."""
    return {
        "tool": "loadtest slo",
        "host": run.host,
        # Headers may carry a key.
        "options": {name: value for name, value in asdict(run.options).items() if name != "header"},
        "arrivals": run.arrivals,
        "traffic": run.traffic,
        "planned": run.planned,
        "counted_s": run.counted_s,
        "unfinished": run.unfinished,
        "elapsed_s": run.elapsed_s,
        "generator_cpu_s": run.generator_cpu_s,
        "summary": asdict(summary),
        "verdict": {"exit": int(verdict.exit), "name": verdict.exit.name.lower(), "because": list(verdict.because)},
        "histograms": described(run.samples),
        "used": asdict(run.used) if run.used else None,
        "readings": [asdict(reading) for reading in run.readings],
        "samples": [_sample(sample) for sample in run.samples],
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        **asdict(sample),
        "stages_ms": dict(sample.stages_ms),
        "latency_ms": sample.latency_ms,
        "lag_ms": sample.lag_ms,
    }


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Writes a report.

    Raises:
        LoadtestError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{path}: cannot be written: {error}") from None


def _line(values: Distribution | None) -> str:
    if values is None:
        return "none"
    return (
        f"p50 {values.p50:.2f}, p90 {values.p90:.2f}, p99 {values.p99:.2f}, p99.9 {values.p999:.2f}, "
        f"max {values.max:.2f} ms"
    )
