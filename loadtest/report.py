"""What an `slo` run says: a short text, and JSON with every raw sample."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import Exit, LoadtestError
from .measure import Distribution, Outcome, Sample, Summary, summarise, what_broke, why_invalid
from .options import RunOptions


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or interrupted run."""

    host: str
    options: RunOptions
    traffic: str
    planned: int
    """Counted requests of the schedule."""
    samples: Sequence[Sample]
    unfinished: int
    """Counted requests sent but neither answered nor timed out when the run was interrupted."""
    elapsed_s: float
    generator_cpu_s: float
    interrupted: bool


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
    if invalid := why_invalid(summary, run.options.objective):
        return Verdict(Exit.INVALID, [*invalid, *(f"for what it is worth, {problem}" for problem in broken)])
    if broken:
        return Verdict(Exit.BROKEN, broken)
    return Verdict(Exit.HELD, [])


def summarise_run(run: Run) -> tuple[Summary, Verdict]:
    """Summary and verdict."""
    summary = summarise(run.samples, run.options.objective)
    return summary, judge(run, summary)


def as_text(run: Run, summary: Summary, verdict: Verdict) -> str:
    """A dozen lines for people."""
    options = run.options
    outcomes = summary.outcomes
    lines = [
        f"{run.host}/score",
        f"  traffic   {run.traffic}",
        f"  arrivals  open loop, Poisson {options.rate:g}/s for {options.duration_s:g} s after {options.warmup_s:g} s "
        f"of warm-up, seed {options.seed}: {run.planned} planned, {summary.requests} counted",
        f"  sent late {_line(summary.lag_ms)} (p99 at most {options.objective.max_lag_ms:g}); "
        f"generator used {run.generator_cpu_s / max(run.elapsed_s, 1e-9):.0%} of a core",
        f"  outcomes  accepted {outcomes[Outcome.ACCEPTED]}, shed (503) {outcomes[Outcome.SHED]}, "
        f"late (504) {outcomes[Outcome.LATE]}, failed {outcomes[Outcome.FAILED]}: "
        f"error rate {summary.error_rate:.4f} (at most {options.max_error_rate:g})",
        f"  latency   {_line(summary.latency_ms)} (p99 at most {options.p99_ms:g}), accepted, from the scheduled time",
        f"  in time   {summary.within_objective:.2%} of all requests accepted within {options.p99_ms:g} ms",
    ]
    lines += [f"  failure   {count} x {reason}" for reason, count in list(summary.reasons.items())[:5]]
    if run.unfinished:
        lines.append(f"  unfinished {run.unfinished}")
    heading = {Exit.HELD: "HELD", Exit.BROKEN: "BROKEN", Exit.INVALID: "INVALID RUN"}.get(verdict.exit, "INTERRUPTED")
    lines.append(f"{heading}: {'; '.join(verdict.because) or 'the objective holds'}")
    return "\n".join(lines) + "\n"


def as_json(run: Run, summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """Everything: options, summary, verdict, raw samples."""
    return {
        "tool": "loadtest slo",
        "host": run.host,
        # Headers may carry a key.
        "options": {name: value for name, value in asdict(run.options).items() if name != "header"},
        "traffic": run.traffic,
        "planned": run.planned,
        "unfinished": run.unfinished,
        "elapsed_s": run.elapsed_s,
        "generator_cpu_s": run.generator_cpu_s,
        "summary": asdict(summary),
        "verdict": {"exit": int(verdict.exit), "name": verdict.exit.name.lower(), "because": list(verdict.because)},
        "samples": [
            {**asdict(sample), "latency_ms": sample.latency_ms, "lag_ms": sample.lag_ms} for sample in run.samples
        ],
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
