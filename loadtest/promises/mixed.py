"""`mixed`: how much slower are calls of one product while calls of a thousand are being scored?

Rounds alternate: the small calls alone, then the same small calls beside large ones, so that whatever else the machine
does hits both alike.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..errors import Exit, LoadtestError
from ..generator.plan import OpenSample, Played
from ..generator.process import play
from ..generator.wire import WireRequest
from ..measure import Distribution, Outcome, distribution
from ..target import Target, add_target_options, target_of
from .verdict import Findings, machine_line, spread
from .watch import Neighbours
from .workload import add_traffic_options, arrivals_of, closed_plan, open_plan, requests_of

_SMALL_IN_FLIGHT, _LARGE_IN_FLIGHT = 4, 2
_WARM_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the server gets through of one kind alone, in a closed loop."""

    small_per_s: float
    large_per_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """Small calls alone, small calls beside, and the large ones."""

    alone: Sequence[OpenSample]
    beside: Sequence[OpenSample]
    large: Sequence[OpenSample]

    @property
    def ratio(self) -> float | None:
        """Of the p99s of accepted small calls; None where one has none."""
        return ratio_of(self.alone, self.beside)


def add_mixed_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    add_traffic_options(parser, max_lag_ms=10.0)
    load = parser.add_argument_group("the load")
    load.add_argument("--load", type=float, default=0.7, help="share of the capacity in all (default %(default)s)")
    load.add_argument("--small-rate", type=float, default=20.0, help="small calls a second (default %(default)s)")
    load.add_argument("--small-products", type=int, default=1, help="default %(default)s")
    load.add_argument("--large-products", type=int, default=1000, help="default %(default)s")
    load.add_argument("--small-deadline-ms", type=int, default=200, help="default %(default)s")
    load.add_argument("--large-deadline-ms", type=int, default=10_000, help="default %(default)s")
    load.add_argument("--large-distinct", type=int, default=20, help="distinct large calls (default %(default)s)")
    load.add_argument("--capacity-s", type=float, default=8.0, help="to measure the capacity (default %(default)s)")
    load.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    load.add_argument("--round-s", type=float, default=20.0, help="of each half of a round (default %(default)s)")
    must = parser.add_argument_group("what must hold")
    must.add_argument("--max-ratio", type=float, default=3.0, help="of the p99s (default %(default)s)")
    must.add_argument(
        "--max-refused", type=float, default=0.01, help="share of small calls not accepted beside (default %(default)s)"
    )


def mixed(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    if not parsed.host and not any(setting.upper().startswith("MAX_TIMEOUT_MS=") for setting in parsed.setting):
        parsed.setting.append(f"MAX_TIMEOUT_MS={parsed.large_deadline_ms}")
    with target_of(parsed, environment, say) as target:
        neighbours = Neighbours(target)
        small, large = _requests(parsed, target)
        capacity = _capacity(target, small, large, parsed.capacity_s)
        if capacity.small_per_s <= 0 or capacity.large_per_s <= 0:
            raise LoadtestError("no call was answered while the capacity was measured")
        large_rate = (parsed.load - parsed.small_rate / capacity.small_per_s) * capacity.large_per_s
        say(
            f"capacity: {capacity.small_per_s:.0f} small or {capacity.large_per_s:.2f} large calls/s; "
            f"beside {parsed.small_rate:g} small go {large_rate:.2f} large calls/s"
        )
        if large_rate <= 0:
            raise LoadtestError("the small calls alone are more than the load: expected a lower --small-rate")
        rounds, played, interrupted = _rounds(parsed, target, small, large, large_rate, say)
        beside = neighbours.line(sum(each.cpu_s for each in played))
    conditions = [
        f"server {target.url}; {parsed.small_products}-product calls at {parsed.small_rate:g}/s, deadline "
        f"{parsed.small_deadline_ms} ms, alone and beside {parsed.large_products}-product calls at {large_rate:.2f}/s, "
        f"deadline {parsed.large_deadline_ms} ms: {parsed.load:.0%} of the capacity in all",
        f"capacity in a closed loop: {capacity.small_per_s:.0f} small calls/s, {capacity.large_per_s:.2f} large "
        f"calls/s ({capacity.large_per_s * parsed.large_products:.0f} products/s)",
        f"{len(rounds)} rounds of 2 x {parsed.round_s:g} s, alternating; the first {_WARM_SHARE:.0%} of each half is "
        "not counted",
        beside,
        machine_line(),
    ]
    findings = judge_mixed(rounds, parsed, conditions, interrupted=interrupted)
    findings.raw |= {"capacity": asdict(capacity), "large_rate": large_rate}
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def ratio_of(alone: Sequence[OpenSample], beside: Sequence[OpenSample]) -> float | None:
    """Of the p99s of accepted calls; None where one side has none."""
    one, other = _accepted(alone), _accepted(beside)
    return other.p99 / one.p99 if one and other else None


def judge_mixed(
    rounds: Sequence[Round], targets: argparse.Namespace, conditions: list[str], *, interrupted: bool
) -> Findings:
    """Against `targets`: max_ratio, max_refused, max_lag_ms."""
    findings = Findings("mixed", conditions, interrupted=interrupted)
    alone = [sample for each in rounds for sample in each.alone]
    beside = [sample for each in rounds for sample in each.beside]
    large = [sample for each in rounds for sample in each.large]
    lag = distribution(sample.lag_ms for sample in [*alone, *beside])
    ratio = ratio_of(alone, beside)
    if lag is None or ratio is None:
        findings.invalid.append("no small call was accepted")
        return findings
    if lag.p99 > targets.max_lag_ms:
        findings.invalid.append(
            f"the generator sent 1 % of the small calls {lag.p99:.1f} ms late or more, allowed {targets.max_lag_ms:g}"
        )
    rows = [("round", "alone p50/p99/max ms", "beside p50/p99/max ms", "ratio of p99", "large p50/p99/max ms")]
    for number, each in enumerate(rounds, start=1):
        rows.append(_row(str(number), each.alone, each.beside, each.large))
    rows.append(_row("all", alone, beside, large))
    findings.tables.append(rows)
    ratios = [each.ratio for each in rounds if each.ratio is not None]
    middle = statistics.median(ratios) if ratios else ratio
    findings.judge(
        "p99 of small calls beside / alone, median of the rounds",
        f"{middle:.2f} ({min(ratios, default=ratio):.2f} to {max(ratios, default=ratio):.2f}; pooled {ratio:.2f})",
        f"at most {targets.max_ratio:g}",
        middle <= targets.max_ratio,
    )
    refused = sum(sample.outcome is not Outcome.ACCEPTED for sample in beside) / len(beside)
    # What is turned away is in no percentile.
    findings.judge(
        "small calls beside that were not accepted",
        f"{refused:.1%}",
        f"at most {targets.max_refused:.0%}",
        refused <= targets.max_refused,
    )
    findings.note("generator's lag p50/p99/max ms", spread(lag))
    for name, samples in (("small alone", alone), ("small beside", beside), ("large", large)):
        findings.note(name, _outcomes(samples))
    findings.raw["rounds"] = [asdict(each) for each in rounds]
    return findings


def _requests(parsed: argparse.Namespace, target: Target) -> tuple[list[WireRequest], list[WireRequest]]:
    small = requests_of(
        parsed, target.endpoint, parsed.small_products, {"x-request-timeout-ms": str(parsed.small_deadline_ms)}
    )
    few = argparse.Namespace(**{**vars(parsed), "distinct": parsed.large_distinct})
    large = requests_of(
        few, target.endpoint, parsed.large_products, {"x-request-timeout-ms": str(parsed.large_deadline_ms)}
    )
    return small, large


def _capacity(
    target: Target, small: Sequence[WireRequest], large: Sequence[WireRequest], duration_s: float
) -> Capacity:
    rates = []
    for requests, in_flight in ((small, _SMALL_IN_FLIGHT), (large, _LARGE_IN_FLIGHT)):
        played = play(closed_plan(target.endpoint, requests, in_flight, duration_s))
        if played.stopped:
            raise KeyboardInterrupt
        done = sum(sample.outcome is Outcome.ACCEPTED for sample in played.samples)
        rates.append(done / played.elapsed_s)
    return Capacity(*rates)


def _rounds(
    parsed: argparse.Namespace,
    target: Target,
    small: Sequence[WireRequest],
    large: Sequence[WireRequest],
    large_rate: float,
    say: Callable[[str], object],
) -> tuple[list[Round], list[Played], bool]:
    rounds: list[Round] = []
    runs: list[Played] = []
    requests = [*small, *large]
    warm_s = parsed.round_s * _WARM_SHARE
    for number in range(parsed.rounds):
        seed = parsed.seed + number
        few = arrivals_of(parsed.small_rate, parsed.round_s, len(small), seed)
        many = arrivals_of(large_rate, parsed.round_s, len(large), seed + 500, first=len(small))
        halves = []
        for arrivals in (few, [*few, *many]):
            played = play(open_plan(target.endpoint, requests, arrivals))
            runs.append(played)
            if played.stopped:
                return rounds, runs, True
            halves.append([sample for sample in played.samples if sample.due_s >= warm_s])
        alone, both = halves
        beside = [sample for sample in both if sample.request < len(small)]
        rounds.append(Round(alone, beside, [sample for sample in both if sample.request >= len(small)]))
        ratio = rounds[-1].ratio
        say(f"round {number + 1} of {parsed.rounds}: ratio {'none' if ratio is None else f'{ratio:.2f}'}")
    return rounds, runs, False


def _accepted(samples: Sequence[OpenSample]) -> Distribution | None:
    return distribution(sample.latency_ms for sample in samples if sample.outcome is Outcome.ACCEPTED)


def _row(
    name: str, alone: Sequence[OpenSample], beside: Sequence[OpenSample], large: Sequence[OpenSample]
) -> tuple[str, str, str, str, str]:
    ratio = ratio_of(alone, beside)
    shown = "none" if ratio is None else f"{ratio:.2f}"
    return name, spread(_accepted(alone)), spread(_accepted(beside)), shown, spread(_accepted(large))


def _outcomes(samples: Sequence[OpenSample]) -> str:
    counts = {outcome: sum(sample.outcome is outcome for sample in samples) for outcome in Outcome}
    return ", ".join(f"{outcome} {count}" for outcome, count in counts.items() if count) or "none"
