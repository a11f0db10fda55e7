"""`soak`: do memory, open files and threads stay within bounds and flat over many requests of random shapes?

With `--leak-control` the server leaks on purpose, and the command holds only if that is found.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import Exit, LoadtestError
from ..generator.plan import Plan, Played
from ..generator.process import Generator
from ..measure import Outcome, distribution
from ..pages import Figure, add_html_option, check_html_option, lines_over_time, write_page
from ..pages.run_page import figures_of
from ..pages.usage import usage_lines
from ..target import Target, add_target_options, target_of
from .soak_traffic import SoakTraffic
from .trend import Slope, rise_of, slope_of
from .verdict import Findings, machine_line
from .watch import Meter, Neighbours, Reading, Ticker

_LEAKING = Path(__file__).parents[1] / "peers" / "leaking.py"
_MB = 1e6
_SAY_EVERY = 20
_ROWS = 10
_NO_BOUND = 10**9


def add_soak_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    add_html_option(parser)
    load = parser.add_argument_group("the load")
    length = load.add_mutually_exclusive_group()
    length.add_argument("--requests", type=int, default=100_000, help="default %(default)s")
    length.add_argument("--minutes", type=float, help="as many requests as fit into so many minutes, instead")
    load.add_argument("--in-flight", type=int, default=8, help="requests at a time (default %(default)s)")
    load.add_argument(
        "--max-minutes", type=float, default=30.0, help="--requests end then at the latest (default %(default)s)"
    )
    load.add_argument("--seed", type=int, default=1, help="of the requests (default %(default)s)")
    for name, default, what in (
        ("partial", 0.1, "ask for partial answers"),
        ("gzipped", 0.1, "are compressed"),
        ("hurried", 0.1, "have 1 to 100 ms"),
        ("abandoned", 0.02, "are left by their caller"),
    ):
        load.add_argument(f"--{name}", type=float, default=default, help=f"share that {what} (default %(default)s)")
    must = parser.add_argument_group("what must hold")
    must.add_argument("--max-rss-mb", type=float, default=350.0, help="at any time (default %(default)s)")
    must.add_argument(
        "--max-slope",
        type=float,
        default=50.0,
        metavar="BYTES",
        help="a request over the second half, beyond noise (default %(default)s)",
    )
    for name, default, what in (("descriptors", 3, "open files and sockets"), ("threads", 0, "threads")):
        must.add_argument(
            f"--max-new-{name}",
            type=int,
            default=default,
            help=f"{what} more at the end of the second half than at its start (default %(default)s)",
        )
    must.add_argument("--leak-control", action="store_true", help="start a server that leaks; the leak must be found")
    must.add_argument("--leak-bytes", type=int, default=300, help="a request, of the control (default %(default)s)")


def soak(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    if parsed.leak_control and parsed.host:
        raise LoadtestError("--leak-control: expected a server that is started here, found --host")
    if parsed.minutes is not None and not 0 < parsed.minutes <= 24 * 60:
        raise LoadtestError(f"--minutes: expected up to 1440, found {parsed.minutes:g}")
    check_html_option(parsed.html)
    launcher = (str(_LEAKING), str(parsed.leak_bytes)) if parsed.leak_control else ()
    with target_of(parsed, environment, say, launcher=launcher) as target:
        if target.rss_bytes() is None:
            raise LoadtestError("expected the server's --pid, to read its memory")
        neighbours = Neighbours(target)
        played, readings = _play(parsed, target, say)
        beside = neighbours.line(played.cpu_s)
    readings = [replace(reading, at_s=reading.at_s - played.start_s) for reading in readings]
    conditions = [
        f"server {target.url}{f', which leaks {parsed.leak_bytes} bytes a request' if parsed.leak_control else ''}",
        f"{len(played.samples) + played.abandoned} requests of random shapes, {parsed.in_flight} in flight, "
        f"{played.elapsed_s:.0f} s, seed {parsed.seed}",
        beside,
        machine_line(),
    ]
    findings = judge_soak(played, readings, parsed, conditions)
    print_out(findings.as_text())
    findings.write(parsed.json)
    if parsed.html:
        write_page(parsed.html, findings.page(soak_figures(played, readings)))
    return findings.exit


def soak_figures(played: Played, readings: Sequence[Reading]) -> list[Figure]:
    """Latency and outcomes, and what the server's process used."""
    figures = figures_of(played.samples)
    if readings:
        figures.append(lines_over_time(usage_lines(readings)))
    return figures


def judge_soak(
    played: Played, readings: Sequence[Reading], targets: argparse.Namespace, conditions: list[str]
) -> Findings:
    """Against `targets`: max_rss_mb, max_slope, max_new_descriptors, max_new_threads, leak_control."""
    findings = Findings("soak", conditions, interrupted=played.stopped)
    if not readings or not played.samples:
        findings.invalid.append("nothing was measured")
        return findings
    findings.tables.append(_memory_table(readings))
    half = readings[-1].ended / 2
    slope = slope_of([(float(each.ended), float(each.rss_bytes)) for each in readings if each.ended >= half])
    _judge_slope(findings, slope, targets)
    if not targets.leak_control:
        peak_mb = max(each.rss_bytes for each in readings) / _MB
        held = peak_mb <= targets.max_rss_mb
        later = [each for each in readings if each.ended >= half]
        for what, counts, most in (
            ("open files and sockets", [each.descriptors for each in later], targets.max_new_descriptors),
            ("threads", [each.threads for each in later], targets.max_new_threads),
        ):
            _judge_flat(findings, what, [count for count in counts if count is not None], most)
        findings.judge("resident memory, highest", f"{peak_mb:.0f} MB", f"at most {targets.max_rss_mb:g} MB", held)
        failed = Counter(each.reason or "" for each in played.samples if each.outcome is Outcome.FAILED)
        shown = ", ".join(f"{count} x {reason}" for reason, count in failed.most_common(3))
        findings.judge("failed requests", shown or "0", "0", not failed)
    outcomes = Counter(str(each.outcome) for each in played.samples)
    findings.note("outcomes", ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    findings.note("left by their caller", str(played.abandoned))
    accepted = distribution(each.latency_ms for each in played.samples if each.outcome is Outcome.ACCEPTED)
    findings.raw |= {
        "readings": [asdict(each) for each in readings],
        "outcomes": dict(outcomes),
        "accepted_ms": None if accepted is None else asdict(accepted),
    }
    return findings


def _judge_slope(findings: Findings, slope: Slope | None, targets: argparse.Namespace) -> None:
    if slope is None:
        findings.invalid.append("too few readings for a slope: expected more requests")
        return
    grows = slope.low > targets.max_slope
    measured = f"{slope.value:+.0f} bytes a request ({slope.low:+.0f} to {slope.high:+.0f})"
    if targets.leak_control:
        findings.judge("the leak is found, second half", measured, f"surely above {targets.max_slope:g}", grows)
        return
    findings.judge("memory's slope, second half", measured, f"not surely above {targets.max_slope:g}", not grows)
    seen = targets.max_slope + (slope.high - slope.low) / 2
    findings.note("a leak would be found from", f"{seen:.0f} bytes a request")
    if seen > targets.leak_bytes:
        findings.invalid.append(
            f"a leak of {targets.leak_bytes} bytes a request would not be found: expected more requests or less noise"
        )


def _judge_flat(findings: Findings, what: str, counts: Sequence[int], most: int) -> None:
    """Of the second half: the median of its last twelfth against that of its first."""
    rise = rise_of(counts)
    if rise is None:
        findings.note(what, "unknown: too few readings")
        return
    findings.judge(
        f"{what}, second half",
        f"{rise:+g} ({min(counts)} to {max(counts)} meanwhile)",
        f"at most {most:+d}",
        rise <= most,
    )


def _play(parsed: argparse.Namespace, target: Target, say: Callable[[str], object]) -> tuple[Played, Sequence[Reading]]:
    endpoint = target.endpoint
    traffic = SoakTraffic(endpoint, parsed.seed, parsed.partial, parsed.gzipped, parsed.hurried, parsed.abandoned)
    plan = Plan(
        endpoint.host,
        endpoint.port,
        (),
        in_flight=parsed.in_flight,
        duration_s=60 * (parsed.max_minutes if parsed.minutes is None else parsed.minutes),
        make=traffic,
        count=parsed.requests if parsed.minutes is None else _NO_BOUND,
        timeout_s=30.0,
    )
    told, start_s = 0, time.monotonic()

    def progress(ended: int) -> None:
        nonlocal told
        done = ended / parsed.requests
        if parsed.minutes is not None:
            done = (time.monotonic() - start_s) / 60 / parsed.minutes
        if done * _SAY_EVERY >= told + 1:
            told = int(done * _SAY_EVERY)
            rss = meter.readings[-1].rss_bytes / _MB if meter.readings else 0.0
            say(f"{min(done, 1.0):.0%}, {ended} requests, {rss:.0f} MB")

    with ExitStack() as watching:
        generator = watching.enter_context(Generator(plan))
        meter = Meter(target, lambda: generator.ended)
        watching.enter_context(Ticker(_interval_s(parsed), meter.tick))
        played = generator.wait(progress)
    return played, meter.readings


def _interval_s(parsed: argparse.Namespace) -> float:
    """Seconds between readings: short runs are read more often."""
    short = parsed.requests < 10_000 if parsed.minutes is None else parsed.minutes < 2
    return 0.1 if short else 1.0


def _memory_table(readings: Sequence[Reading]) -> Sequence[Sequence[str]]:
    step = max(1, len(readings) // _ROWS)
    rows = [("requests", "seconds", "resident MB", "open files and sockets", "threads")]
    for each in [*readings[::step][:_ROWS], readings[-1]]:
        files, threads = ("unknown" if count is None else str(count) for count in (each.descriptors, each.threads))
        rows.append((str(each.ended), f"{each.at_s:.0f}", f"{each.rss_bytes / _MB:.1f}", files, threads))
    return rows
