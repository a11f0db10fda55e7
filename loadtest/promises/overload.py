"""`overload`: what becomes of the promises at 2 and 10 times the rated load, and afterwards."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import accumulate
from typing import Any

from ..capacity.trials import Trial
from ..core_speed import INTERVAL_S, CoreSpeed
from ..errors import Exit, LoadtestError
from ..generator.plan import Plan
from ..generator.process import Generator
from ..pages import add_html_option, check_html_option, write_page
from ..target import Target, add_target_options, target_of
from .overload_page import overload_figures
from .overload_report import RECOVERED, OverloadRun, judge_overload
from .phases import Phase
from .rated import find_rated
from .watch import Meter, Neighbours, Probe, Prober, Ticker, histogram, read_metrics
from .workload import add_traffic_options, arrivals_of, open_plan, requests_of

_PROBE_S = 0.1
_MEMORY_S = 0.1
_MICRO_BATCH = "shelfscore_micro_batch_duration_seconds"


def add_overload_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    add_html_option(parser)
    add_traffic_options(parser, max_lag_ms=10.0)
    load = parser.add_argument_group("the load")
    load.add_argument("--products", type=int, default=64, help="of each request (default %(default)s)")
    load.add_argument("--deadline-ms", type=int, default=200, help="of each request (default %(default)s)")
    load.add_argument("--rated", type=float, metavar="RATE", help="requests/s that count as 1x; searched without")
    load.add_argument(
        "--rated-share", type=float, default=0.99, help="in time at 1x, of the search (default %(default)s)"
    )
    load.add_argument("--step-s", type=float, default=8.0, help="of each rate that is tried (default %(default)s)")
    load.add_argument("--steps", type=int, default=6, help="rates that are tried (default %(default)s)")
    load.add_argument(
        "--phases",
        type=_phases,
        default=_phases("1x20,2x60,10x60,1x20"),
        metavar="FACTORxSECONDS,...",
        help="default 1x20,2x60,10x60,1x20",
    )
    must = parser.add_argument_group("what must hold where the load is above 1x")
    must.add_argument("--min-goodput", type=float, default=0.95, help="share of the rated (default %(default)s)")
    must.add_argument("--max-rejection-ms", type=float, default=10.0, help="every 503 (default %(default)s)")
    must.add_argument("--max-ready-ms", type=float, default=20.0, help="p99 of /health/ready (default %(default)s)")
    must.add_argument("--max-metrics-ms", type=float, default=50.0, help="p99 of /metrics (default %(default)s)")
    must.add_argument("--max-growth-mb", type=float, default=10.0, help="of memory, beyond noise (default %(default)s)")
    must.add_argument(
        "--max-recovery-s",
        type=float,
        default=5.0,
        help=f"until p99 is at most {RECOVERED:g} times that before the overload (default %(default)s)",
    )


def overload(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    check_html_option(parsed.html)
    with target_of(parsed, environment, say) as target:
        headers = {"x-request-timeout-ms": str(parsed.deadline_ms)}
        requests = requests_of(parsed, target.endpoint, parsed.products, headers)
        rated, steps = parsed.rated, list[Trial]()
        if rated is None:
            rated, steps = find_rated(
                target.endpoint,
                requests,
                deadline_ms=parsed.deadline_ms,
                share=parsed.rated_share,
                step_s=parsed.step_s,
                steps=parsed.steps,
                seed=parsed.seed + 1000,
                max_lag_ms=parsed.max_lag_ms,
                say=say,
            )
        if rated <= 0:
            raise LoadtestError("no rate was answered in time: expected a longer --deadline-ms or a quieter machine")
        say(f"1x is {rated:.1f} requests/s of {parsed.products} products")
        phases = phases_of(parsed.phases)
        arrivals = [
            arrival
            for number, phase in enumerate(phases)
            for arrival in arrivals_of(
                rated * phase.factor, phase.seconds, len(requests), parsed.seed + number, start_s=phase.start_s
            )
        ]
        watched = _watch(target, open_plan(target.endpoint, requests, arrivals))
    run = OverloadRun(parsed.products, parsed.deadline_ms, rated, phases, **watched)
    findings = judge_overload(run, parsed, f"server {target.url}, {len(requests)} distinct requests")
    findings.raw["rated"] = {"requests_per_s": rated, "tried": [step.as_json() for step in steps]}
    print_out(findings.as_text())
    findings.write(parsed.json)
    if parsed.html:
        write_page(parsed.html, findings.page(overload_figures(run)))
    return findings.exit


def phases_of(wanted: Sequence[tuple[float, float]]) -> list[Phase]:
    """One after another."""
    ends = list(accumulate(seconds for _, seconds in wanted))
    return [
        Phase(f"{factor:g}x", factor, end - seconds, end) for (factor, seconds), end in zip(wanted, ends, strict=True)
    ]


def _watch(target: Target, plan: Plan) -> dict[str, Any]:
    """Plays the plan while the server is watched; times become seconds of the schedule."""
    before = histogram(read_metrics(target.endpoint), _MICRO_BATCH)
    ready, metrics = Prober(target.endpoint, "/health/ready"), Prober(target.endpoint, "/metrics")
    meter, neighbours, cores = Meter(target), Neighbours(target), CoreSpeed()
    with ExitStack() as watching:
        generator = watching.enter_context(Generator(plan))
        for interval_s, tick in (
            (_PROBE_S, ready.tick),
            (_PROBE_S, metrics.tick),
            (_MEMORY_S, meter.tick),
            (INTERVAL_S, cores.tick),
        ):
            watching.enter_context(Ticker(interval_s, tick))
        played = generator.wait()
    start_s = played.start_s
    return {
        "played": played,
        "ready": [Probe(p.due_s - start_s, p.done_s - start_s, p.status) for p in ready.probes],
        "metrics": [Probe(p.due_s - start_s, p.done_s - start_s, p.status) for p in metrics.probes],
        "readings": [replace(reading, at_s=reading.at_s - start_s) for reading in meter.readings],
        "neighbours": f"{neighbours.line(played.cpu_s)}; {cores.line()}",
        "micro_batches": histogram(read_metrics(target.endpoint), _MICRO_BATCH).since(before),
    }


def _phases(text: str) -> list[tuple[float, float]]:
    try:
        pairs = [(float(part.partition("x")[0]), float(part.partition("x")[2])) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected FACTORxSECONDS,..., found {text!r}") from None
    if any(not (0 < factor <= 100 and 0 < seconds <= 3600) for factor, seconds in pairs):
        raise argparse.ArgumentTypeError(f"expected factors up to 100 and up to 3600 seconds, found {text!r}")
    return pairs
