"""The options of `python -m loadtest bench`, and the way from them to a report."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import Exit, LoadtestError
from ..report import write_json
from .bench import Plan, run_bench
from .bench_report import Conditions, as_json, as_markdown, judge
from .bench_traffic import add_traffic_options, check_traffic_options, choose_requests, warm_up_of
from .hosting import add_server_options, ports_of
from .lineup import add_lineup_options, lineup_of

_MAX_IN_FLIGHT = 64


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_lineup_options(parser, "who takes part; the first is compared with the peer")
    much = parser.add_argument_group("how much")
    much.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    much.add_argument("--requests", type=int, default=40, help="requests a turn (default %(default)s)")
    much.add_argument(
        "--in-flight", default="1,4", metavar="A,B", help="numbers of requests in flight (default %(default)s)"
    )
    add_traffic_options(much)
    much.add_argument("--settle-s", type=float, default=0.3, help="pause before each turn (default %(default)s)")
    add_server_options(much)
    out = parser.add_argument_group("what comes out")
    out.add_argument("--min-ratio", type=float, metavar="X", help="fail if the first has less times the peer's pairs/s")
    out.add_argument("--max-p99-ratio", type=float, metavar="X", help="fail if the first's p99 is more of the peer's")
    out.add_argument("--out", type=Path, metavar="FILE", help="the Markdown report, which is printed too")
    out.add_argument("--json", type=Path, metavar="FILE", help="everything, raw latencies included")


def bench(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    print_progress: Callable[[str], object],
) -> Exit:
    """Runs the benchmark.

    Raises:
        LoadtestError: nothing could be measured.
    """
    _check(parsed)
    lineup = lineup_of(parsed, environment, print_progress)
    plan = Plan(
        settle_s=parsed.settle_s,
        rounds=parsed.rounds,
        requests=parsed.requests,
        warmup=warm_up_of(parsed),
        ready_timeout_s=parsed.ready_timeout,
        request_timeout_s=parsed.request_timeout,
        ports=ports_of(parsed),
        in_flight=_in_flight(parsed.in_flight),
        pairs_repeat=parsed.zipf is not None,
    )
    chosen = choose_requests(parsed, plan.needed)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="loadtest-") as log_dir:
        result = run_bench(
            lineup.contestants,
            chosen.requests,
            plan,
            text=lineup.text,
            log_dir=Path(log_dir),
            say=print_progress,
            introduction=chosen.introduction,
        )
    conditions = Conditions(
        chosen=chosen,
        plan=plan,
        load_before=before,
        load_after=os.getloadavg()[0],
        peer_missing=lineup.peer_missing,
        min_ratio=parsed.min_ratio,
        max_p99_ratio=parsed.max_p99_ratio,
    )
    report = as_markdown(result, conditions)
    print_out(report)
    if parsed.out:
        _write(parsed.out, report)
    if parsed.json:
        write_json(parsed.json, as_json(result, conditions))
    return judge(result, conditions)[0]


def _check(parsed: argparse.Namespace) -> None:
    for name in ("rounds", "requests", "products", "ready_timeout", "request_timeout"):
        if not 0 < getattr(parsed, name) <= 100_000:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 1 to 100000, found {getattr(parsed, name)}")
    if not 0 <= parsed.settle_s <= 60:
        raise LoadtestError(f"--settle-s: expected 0 to 60, found {parsed.settle_s}")
    check_traffic_options(parsed)
    for path in (parsed.out, parsed.json):
        if path is not None and not path.parent.is_dir():
            raise LoadtestError(f"{path}: cannot be written: no such folder")


def _in_flight(text: str) -> tuple[int, ...]:
    numbers = [int(number) if number.strip().isdecimal() else 0 for number in text.split(",")]
    if not all(1 <= number <= _MAX_IN_FLIGHT for number in numbers) or len(set(numbers)) < len(numbers):
        raise LoadtestError(f"--in-flight: expected different numbers from 1 to {_MAX_IN_FLIGHT}, found {text!r}")
    return tuple(numbers)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"{path}: cannot be written: {error}\n")
