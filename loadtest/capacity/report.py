"""What a capacity run says: the rates that were tried, the answer with its bracket, and what became of the checks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ..core_speed import CoreSpeed
from ..pages import Figure, RatePoint, latency_cdf, latency_over_time, lines_over_time, rate_against_p99
from ..pages.series import latencies_by_outcome
from ..pages.usage import usage_lines
from ..promises.verdict import Findings
from ..promises.watch import Reading
from .search import Answer
from .trials import Trial


@dataclass(frozen=True, slots=True)
class CapacityRun:
    """Everything that was measured."""

    answer: Answer
    trials: Sequence[Trial]
    readings: Sequence[Reading]
    """Of the server's process, seconds after the start."""
    products: int
    p99_ms: float
    cores: CoreSpeed = field(default_factory=CoreSpeed)
    """Of the machine, meanwhile."""
    gone: str = ""
    """Why the server is not ready after it all; empty where it is: what broke because it died is no capacity."""


def judge_capacity(run: CapacityRun, conditions: list[str], *, min_rate: float | None, interrupted: bool) -> Findings:
    """A rate must have held, at least `min_rate` where one is given; shares up to 1 must hold, those above must not."""
    answer = run.answer
    findings = Findings("capacity", conditions, interrupted=interrupted)
    slowness = [run.cores.slowness(trial.start_s, trial.end_s) for trial in run.trials]
    findings.tables.append(_trials_table(run.trials, slowness))
    findings.raw |= {
        "answer": asdict(answer) | {"checks": {f"{share:g}": held for share, held in answer.checks.items()}},
        "trials": [
            trial.as_json() | {"slowness": slow, "samples": [asdict(sample) for sample in trial.samples]}
            for trial, slow in zip(run.trials, slowness, strict=True)
        ],
        "readings": [asdict(reading) for reading in run.readings],
    }
    found = answer.holds is not None and answer.confirmed
    findings.judge(
        "highest rate that held",
        _answer_in_words(answer, run.products),
        "one is confirmed" if min_rate is None else f"at least {min_rate:g} requests/s",
        found and (min_rate is None or (answer.holds or 0.0) >= min_rate),
    )
    for share, held in answer.checks.items():
        must = share <= 1
        findings.judge(
            f"{share:.0%} of it, {share * (answer.holds or 0.0):.1f} requests/s",
            _p99_at(run.trials, f"check at {share:.0%}") + ("held" if held else "broke"),
            "holds" if must else "breaks",
            held is must,
        )
        if not (interrupted or must or held) and _late_throughout(run.trials, share * (answer.holds or 0.0)):
            findings.invalid.append(
                f"the generator was late in every trial at {share:.0%}: that broke for want of it, not of a server"
            )
    if not interrupted:
        findings.judge("the server afterwards", run.gone or "ready", "ready", not run.gone)
    findings.note("closed loop, 3 in flight", f"{answer.closed_loop:.1f} requests/s")
    if not interrupted and answer.breaks is not None and _late_throughout(run.trials, answer.breaks):
        findings.invalid.append(
            f"the generator was late in every trial at {answer.breaks:.1f} requests/s: the rate above the answer broke "
            "for want of a generator, not of a server"
        )
    return findings


def capacity_figures(run: CapacityRun) -> list[Figure]:
    """Rates against p99, the confirmation's latencies, and what the server used meanwhile."""
    if not run.trials:
        return []
    points = [
        RatePoint(trial.purpose, trial.rate, trial.accepted_ms.p99 if trial.accepted_ms else None, trial.held)
        for trial in run.trials
    ]
    figures = [rate_against_p99(points, limit_ms=run.p99_ms)]
    shown = next((trial for trial in reversed(run.trials) if trial.purpose == "confirmation"), run.trials[-1])
    if shown.samples:
        figures.append(latency_over_time(shown.samples, limit_ms=run.p99_ms))
        figures.append(latency_cdf(latencies_by_outcome(shown.samples), limit_ms=run.p99_ms))
    if run.readings:
        figures.append(lines_over_time(usage_lines(run.readings)))
    return figures


def _answer_in_words(answer: Answer, products: int) -> str:
    if answer.holds is None:
        tried = "no rate held" if answer.breaks is None else f"the lowest that was tried, {answer.breaks:.1f}/s, broke"
        return f"none; {tried}"
    above = "no rate above it broke" if answer.breaks is None else f"lowest that did not: {answer.breaks:.1f}"
    confirmed = "" if answer.confirmed else ", not confirmed"
    return f"{answer.holds:.1f} requests/s, {answer.holds * products:.0f} products/s ({above}){confirmed}"


def _trials_table(trials: Sequence[Trial], slowness: Sequence[float | None]) -> Sequence[Sequence[str]]:
    rows = [("requests/s", "for", "requests", "p50 ms", "p99 ms", "not accepted", "generator", "cores", "")]
    for trial, slow in zip(trials, slowness, strict=True):
        latency = trial.accepted_ms
        rows.append(
            (
                f"{trial.rate:.1f}",
                trial.purpose,
                str(len(trial.samples)),
                f"{latency.p50:.1f}" if latency else "none",
                f"{latency.p99:.1f}" if latency else "none",
                f"{trial.error_rate:.2%}",
                "late" if trial.generator_late else "in time",
                "" if slow is None else f"{slow:.2f}x slow",
                ("held" if trial.held else "broke") + ("" if trial.sure else ", near the limit"),
            )
        )
    return rows


def _p99_at(trials: Sequence[Trial], purpose: str) -> str:
    found = [trial.accepted_ms.p99 for trial in trials if trial.purpose == purpose and trial.accepted_ms]
    return f"p99 {' / '.join(f'{p99_ms:.1f}' for p99_ms in found)} ms: " if found else ""


def _late_throughout(trials: Sequence[Trial], rate: float) -> bool:
    broke = [trial for trial in trials if trial.rate == rate and not trial.held]
    return bool(broke) and all(trial.generator_late for trial in broke)
