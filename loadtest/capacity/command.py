"""`capacity`: the highest rate of Poisson arrivals at which the objective holds."""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..client import check_ready
from ..core_speed import INTERVAL_S, CoreSpeed
from ..errors import Exit, LoadtestError, ServerError
from ..pages import add_html_option, check_html_option, write_page
from ..promises.verdict import machine_line
from ..promises.watch import Meter, Neighbours, Ticker
from ..promises.workload import add_traffic_options, requests_of
from ..target import add_target_options, target_of
from .bisection import Grid
from .criteria import objective
from .report import CapacityRun, capacity_figures, judge_capacity
from .search import HIGHEST, Answer, find_capacity
from .trials import Examiner, Pace

_READ_S = 1.0


def add_capacity_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    add_html_option(parser)
    add_traffic_options(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("--products", type=int, default=64, help="of each request (default %(default)s)")
    load.add_argument("--deadline-ms", type=int, default=0, help="of each request; 0: none is sent (default)")
    must = parser.add_argument_group("the objective")
    must.add_argument("--p99-ms", type=float, default=50.0, help="of accepted requests (default %(default)s)")
    must.add_argument(
        "--max-error-rate", type=float, default=0.01, help="share not accepted (default %(default)s)", metavar="SHARE"
    )
    must.add_argument("--min-rate", type=float, metavar="RATE", help="break where less than this is found")
    must.add_argument(
        "--check",
        type=_shares,
        default=(),
        metavar="0.9,1.2",
        help="then try these shares of the answer: those up to 1 must hold, those above must break",
    )
    how = parser.add_argument_group("the search")
    how.add_argument(
        "--resolution", type=float, default=0.04, help="between neighbouring rates that are tried (default %(default)s)"
    )
    how.add_argument("--max-rate", type=float, default=HIGHEST, help="none above is tried (default %(default)g)")
    how.add_argument(
        "--step-requests", type=int, default=1000, help="counted for each rate (default %(default)s)", metavar="N"
    )
    how.add_argument("--min-step-s", type=float, default=10.0, help="but for so long at least (default %(default)s)")
    how.add_argument("--max-step-s", type=float, default=120.0, help="and at most (default %(default)s)")
    how.add_argument("--repeats", type=int, default=3, help="trials that decide near the limit (default %(default)s)")
    how.add_argument("--settle-s", type=float, default=1.0, help="pause after each trial (default %(default)s)")
    how.add_argument("--closed-loop-s", type=float, default=8.0, help="to know where to look (default %(default)s)")
    how.add_argument(
        "--confirm", type=float, default=3.0, help="times as long is the confirmation (default %(default)s)"
    )
    how.add_argument(
        "--max-lag-ms", type=float, help="a break counts only if 99 %% were sent by then (default: p99-ms / 5)"
    )


def capacity(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    _check(parsed)
    with target_of(parsed, environment, say) as target:
        headers = {"x-request-timeout-ms": str(parsed.deadline_ms)} if parsed.deadline_ms else {}
        requests = requests_of(parsed, target.endpoint, parsed.products, headers)
        examiner = Examiner(
            target.endpoint,
            requests,
            objective(parsed.p99_ms, parsed.max_error_rate),
            Pace(parsed.step_requests, parsed.min_step_s, parsed.max_step_s),
            parsed.seed,
            parsed.p99_ms / 5 if parsed.max_lag_ms is None else parsed.max_lag_ms,
            say,
            repeats=parsed.repeats,
            settle_s=parsed.settle_s,
        )
        neighbours, meter, cores, start_s = Neighbours(target), Meter(target), CoreSpeed(), time.monotonic()
        answer, interrupted = Answer(closed_loop=0.0), False
        try:
            with Ticker(_READ_S, meter.tick), Ticker(INTERVAL_S, cores.tick):
                answer.closed_loop = examiner.closed_loop(parsed.closed_loop_s)
                find_capacity(
                    examiner,
                    Grid(1 + parsed.resolution),
                    answer,
                    confirm_times=parsed.confirm,
                    checks=parsed.check,
                    highest=parsed.max_rate,
                )
        except KeyboardInterrupt:
            interrupted = True
        beside = neighbours.line(examiner.generator_cpu_s)
        elapsed_s = time.monotonic() - start_s
        gone = "" if interrupted else _why_not_ready(target.url)
    conditions = [
        f"server {target.url}; {parsed.products} products, "
        + (f"deadline {parsed.deadline_ms} ms" if parsed.deadline_ms else "no deadline of the caller's")
        + f"; Poisson arrivals, open loop, latency from the scheduled time; {len(requests)} distinct requests",
        f"objective: p99 of accepted at most {parsed.p99_ms:g} ms, not accepted at most {parsed.max_error_rate:.2%}",
        f"rates {parsed.resolution:.0%} apart; each for {parsed.step_requests} requests ({parsed.min_step_s:g} to "
        f"{parsed.max_step_s:g} s) after a tenth of it to warm up; near the limit the majority of {parsed.repeats} "
        f"trials; confirmation {parsed.confirm:g} times as long; seed {parsed.seed}; {elapsed_s:.0f} s in all",
        beside,
        cores.line(),
        machine_line(),
    ]
    readings = [replace(reading, at_s=reading.at_s - start_s) for reading in meter.readings]
    run = CapacityRun(answer, examiner.trials, readings, parsed.products, parsed.p99_ms, cores, gone)
    findings = judge_capacity(run, conditions, min_rate=parsed.min_rate, interrupted=interrupted)
    print_out(findings.as_text())
    findings.write(parsed.json)
    if parsed.html:
        write_page(parsed.html, findings.page(capacity_figures(run)))
    return findings.exit


def _why_not_ready(url: str) -> str:
    """In words; empty where it is ready."""
    try:
        check_ready(url)
    except ServerError as error:
        return str(error)
    return ""


def _check(parsed: argparse.Namespace) -> None:
    check_html_option(parsed.html)
    for name in ("p99_ms", "products", "step_requests", "min_step_s", "closed_loop_s", "repeats", "confirm"):
        if not 0 < getattr(parsed, name) <= 1e6:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected more than 0, found {getattr(parsed, name)}")
    if not parsed.min_step_s <= parsed.max_step_s <= 3600:
        raise LoadtestError(f"--max-step-s: expected {parsed.min_step_s:g} to 3600, found {parsed.max_step_s:g}")
    if not 1 <= parsed.max_rate <= HIGHEST:
        raise LoadtestError(f"--max-rate: expected 1 to {HIGHEST:g}, found {parsed.max_rate}")
    if not 0.005 <= parsed.resolution <= 1:
        raise LoadtestError(f"--resolution: expected 0.005 to 1, found {parsed.resolution}")
    if not 0 <= parsed.max_error_rate < 1:
        raise LoadtestError(f"--max-error-rate: expected 0 to 1, found {parsed.max_error_rate}")


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected shares like 0.9,1.2, found {text!r}") from None
    if not all(math.isfinite(share) and 0.1 <= share <= 10 for share in shares):
        raise argparse.ArgumentTypeError(f"expected shares from 0.1 to 10, found {text!r}")
    return shares
