"""What a comparison says: each contestant at each rate, gates on ratios of p99, and rate against p99."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..errors import LoadtestError
from ..measure import Outcome, percentile
from ..pages import Figure, Line, RatePoint, latency_cdf, lines_over_time, rate_against_p99
from ..pages.series import by_stretch, edges_of
from ..promises.verdict import Findings
from .turns import Turn, accepted_of

_MOST_CDFS = 4


@dataclass(frozen=True, slots=True)
class Gate:
    """The p99 of one contestant may be at most so many times another's, at every rate."""

    name: str
    other: str
    most: float

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> "Gate":
        """Of `NAME/OTHER=X`.

        Raises:
            LoadtestError: it is none, or names nobody.
        """
        pair, _, limit = text.rpartition("=")
        for name in names:
            other = pair.removeprefix(f"{name}/")
            if other != pair and other in names:
                try:
                    most = float(limit)
                except ValueError:
                    break
                if math.isfinite(most) and most > 0:
                    return cls(name, other, most)
        raise LoadtestError(f"--max-p99-ratio: expected NAME/OTHER=X with two of {', '.join(names)}, found {text!r}")


def judge_compare(
    turns: Sequence[Turn],
    gates: Sequence[Gate],
    conditions: list[str],
    *,
    max_lag_ms: float,
    interrupted: bool,
) -> Findings:
    """Each gate at each rate, over all rounds; a contestant that does not accept 99 % loses."""
    findings = Findings("compare", conditions, interrupted=interrupted)
    findings.tables.append(_table(turns))
    findings.raw["turns"] = [asdict(turn) for turn in turns]
    if not turns:
        findings.invalid.append("nothing was measured")
        return findings
    rates = sorted({turn.rate for turn in turns})
    for gate in gates:
        for rate in rates:
            one, other = (_p99_ms(_at(turns, name, rate)) for name in (gate.name, gate.other))
            if math.isinf(one) and math.isinf(other):
                findings.invalid.append(f"neither {gate.name} nor {gate.other} accepted 99 % at {rate:g}/s")
                continue
            findings.judge(
                f"{rate:g}/s: p99 of all of {gate.name} to {gate.other}'s",
                f"{one / other:.2f}{_range(turns, gate, rate)}",
                f"at most {gate.most:g}",
                one / other <= gate.most,
            )
    for turn in turns:
        lag = turn.lag_ms
        if lag is None:
            findings.invalid.append(f"no request was counted at {turn.rate:g}/s: raise the rate or the duration")
        elif lag.p99 > max_lag_ms:
            findings.invalid.append(
                f"round {turn.number + 1}, {turn.rate:g}/s, {turn.name}: 1 % of the requests were sent "
                f"{lag.p99:.1f} ms late or more, allowed {max_lag_ms:g} ms"
            )
    return findings


def compare_figures(turns: Sequence[Turn]) -> list[Figure]:
    """Rate against p99, each round a point; distributions by rate; and the first round at the highest rate in time."""
    if not turns:
        return []
    names = list(dict.fromkeys(turn.name for turn in turns))
    rates = sorted({turn.rate for turn in turns})
    points = [
        RatePoint(turn.name, turn.rate, turn.accepted_ms.p99 if turn.accepted_ms else None)
        for name in names
        for turn in turns
        if turn.name == name
    ]
    figures = [rate_against_p99(points)]
    for rate in rates[-_MOST_CDFS:]:
        named = {f"{name}, {rate:g}/s": _accepted_ms(_at(turns, name, rate)) for name in names}
        if any(named.values()):
            figures.append(latency_cdf({name: values for name, values in named.items() if values}))
    lines = [_p99_line(turn) for turn in turns if turn.rate == rates[-1] and turn.number == 0]
    if any(line.points for line in lines):
        figures.append(lines_over_time(lines))
    return figures


def _table(turns: Sequence[Turn]) -> Sequence[Sequence[str]]:
    rows = [
        (
            *("contestant", "requests/s", "requests", "p50 ms", "p99 ms (by round)", "max ms"),
            *(str(outcome) for outcome in Outcome),
            "server cores",
        )
    ]
    for rate in sorted({turn.rate for turn in turns}):
        for name in dict.fromkeys(turn.name for turn in turns):
            own = _at(turns, name, rate)
            if not own:
                continue
            samples = [sample for turn in own for sample in turn.samples]
            latency, counts = accepted_of(samples), Counter(sample.outcome for sample in samples)
            by_round = [turn.accepted_ms.p99 for turn in own if turn.accepted_ms]
            p99 = f"{latency.p99:.1f} ({min(by_round):.1f} - {max(by_round):.1f})" if latency else "none"
            rows.append(
                (
                    name,
                    f"{rate:g}",
                    str(len(samples)),
                    f"{latency.p50:.1f}" if latency else "none",
                    p99,
                    f"{latency.max:.1f}" if latency else "none",
                    *(str(counts[outcome]) for outcome in Outcome),
                    f"{sum(turn.server_cores for turn in own) / len(own):.2f}",
                )
            )
    return rows


def _at(turns: Sequence[Turn], name: str, rate: float) -> list[Turn]:
    return [turn for turn in turns if turn.name == name and turn.rate == rate]


def _accepted_ms(turns: Sequence[Turn]) -> list[float]:
    return [s.latency_ms for turn in turns for s in turn.samples if s.outcome is Outcome.ACCEPTED]


def _p99_ms(turns: Sequence[Turn]) -> float:
    """Of all requests; one that was not accepted took for ever, so that nobody wins by turning callers away."""
    samples = [sample for turn in turns for sample in turn.samples]
    if not samples:
        return math.inf
    return percentile([s.latency_ms if s.outcome is Outcome.ACCEPTED else math.inf for s in samples], 0.99)


def _range(turns: Sequence[Turn], gate: Gate, rate: float) -> str:
    others = {turn.number: turn.accepted_ms for turn in _at(turns, gate.other, rate)}
    ratios = [
        own.p99 / other.p99
        for turn in _at(turns, gate.name, rate)
        if (own := turn.accepted_ms) and (other := others.get(turn.number))
    ]
    return f" ({min(ratios):.2f} - {max(ratios):.2f} by round)" if ratios else ""


def _p99_line(turn: Turn) -> Line:
    points = [(s.due_s, s.latency_ms) for s in turn.samples if s.outcome is Outcome.ACCEPTED]
    if not points:
        return Line(turn.name, "ms", [])
    by = by_stretch(points, edges_of(min(points)[0], max(points)[0]))
    found = [(start_s, p99) for start_s, p99 in zip(by.edges_s, by.p99, strict=False) if not math.isnan(p99)]
    return Line(f"{turn.name}: p99 at {turn.rate:g}/s", "ms", found)
