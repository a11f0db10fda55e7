"""`scan`: does memory stay within its bound while a service meets more distinct products than its cache can keep?"""

import argparse
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from http.client import HTTPException

from ..benchmarks.closed_loop import ask_all
from ..benchmarks.lean import LeanConnection
from ..benchmarks.observed import Kept, read_counters
from ..benchmarks.protocols import ScoreProtocol
from ..client import Endpoint, Reply
from ..errors import Exit, LoadtestError, ServerError
from ..target import Target, add_target_options, target_of
from .scan_traffic import PRODUCTS_AT_MOST, scan_bodies
from .trend import slope_of
from .verdict import Findings, machine_line
from .watch import Meter, Neighbours, Reading, Ticker

_MB = 1e6
_FULL = 0.98
"""Of the cache's bytes. An entry is a hundredth of them at most, so that a full cache lacks no more than that."""
_STEPS = 100
_ROWS = 10
_METER_S = 0.5
_AGAIN_S = 0.1
# A request of a thousand products that nobody has met takes longer than a search may wait.
_PATIENT = ("MAX_TIMEOUT_MS=120000", "MAX_BACKLOG_MS=240000")


@dataclass(frozen=True, slots=True)
class Step:
    """What the server used and kept after so many products, with no request in flight."""

    products: int
    rss_bytes: int
    kept: Kept


class Patient(LeanConnection):
    """A connection that asks again where it was turned away, for so many seconds: a refusal is no answer to a scan."""

    def __init__(self, endpoint: Endpoint, timeout_s: float, patience_s: float) -> None:
        super().__init__(endpoint, timeout_s)
        self._patience_s = patience_s
        self.refused = 0

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises OSError or http.client.HTTPException, and is closed then."""
        until_s = time.monotonic() + self._patience_s
        while (reply := super().request(method, path, body, headers)).status == 503 and time.monotonic() < until_s:
            self.refused += 1
            time.sleep(_AGAIN_S)
            self.refresh()
        return reply


@dataclass(slots=True)
class Scanned:
    """What came of a scan."""

    steps: list[Step] = field(default_factory=list)
    """The first before any product."""
    readings: Sequence[Reading] = ()
    """Of memory alone, under load, with `ended` as products; what a step misses between two requests."""
    elapsed_s: float = 0.0
    refused: int = 0
    """Requests that were turned away and asked again."""
    interrupted: bool = False
    failure: str | None = None
    """Why it ended before its last product, if it did."""


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("--products", type=int, default=1_000_000, help="distinct ones (default %(default)s)")
    load.add_argument(
        "--at-once", type=int, default=PRODUCTS_AT_MOST, help="products of a request (default %(default)s, the most)"
    )
    load.add_argument("--in-flight", type=int, default=2, help="requests at a time (default %(default)s)")
    load.add_argument("--max-minutes", type=float, default=60.0, help="ends then at the latest (default %(default)s)")
    load.add_argument("--request-timeout", type=float, default=180.0, metavar="S", help="default %(default)s")
    load.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="S",
        help="how long a request that is turned away is asked again (default %(default)s)",
    )
    load.add_argument("--seed", type=int, default=1, help="of the products (default %(default)s)")
    load.add_argument(
        "--cache-bytes",
        type=int,
        default=256 << 20,
        help="of the cache of states, or token ids, of the server that is started; with --host, what that one has "
        "(default %(default)s)",
    )
    must = parser.add_argument_group("what must hold")
    must.add_argument(
        "--max-growth-mb",
        type=float,
        default=30.0,
        help="of resident memory, highest once the cache is full over highest until then (default %(default)s)",
    )


def scan(
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
    sizes = [f"{cache}_CACHE_BYTES={parsed.cache_bytes}" for cache in ("STATE", "TOKEN")]
    parsed.setting = [*_PATIENT, *sizes, *parsed.setting]
    with target_of(parsed, environment, say) as target:
        if target.rss_bytes() is None:
            raise LoadtestError("expected the server's --pid, to read its memory")
        neighbours = Neighbours(target)
        scanned = _scan(parsed, target, say)
        beside = neighbours.line()
    sent = scanned.steps[-1].products
    conditions = [
        f"server {target.url}, a cache of {parsed.cache_bytes:,} bytes",
        f"{sent:,} distinct products in requests of {parsed.at_once}, {parsed.in_flight} in flight, "
        f"{scanned.elapsed_s:.0f} s ({sent / max(scanned.elapsed_s, 1e-9):,.0f} products/s), seed {parsed.seed}",
        beside,
        machine_line(),
    ]
    findings = judge_scan(scanned, parsed, conditions)
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def judge_scan(scanned: Scanned, targets: argparse.Namespace, conditions: list[str]) -> Findings:
    """Against `targets`: cache_bytes, max_growth_mb."""
    findings = Findings("scan", conditions, interrupted=scanned.interrupted)
    findings.raw |= {
        "steps": [asdict(step) for step in scanned.steps],
        "readings": [asdict(reading) for reading in scanned.readings],
    }
    if scanned.failure:
        findings.invalid.append(scanned.failure)
    start, end = scanned.steps[0], scanned.steps[-1]
    full = next((step for step in scanned.steps if step.kept.bytes >= _FULL * targets.cache_bytes), None)
    findings.tables.append(_steps_table(scanned.steps, full))
    findings.note("requests turned away and asked again", str(scanned.refused))
    highest_kept = max(step.kept.bytes for step in scanned.steps)
    findings.judge(
        "bytes kept, highest",
        f"{highest_kept:,} of {max(step.kept.products for step in scanned.steps):,} products",
        f"at most {targets.cache_bytes:,}",
        highest_kept <= targets.cache_bytes,
    )
    if full is None or full is end:
        what = "the cache was never full" if full is None else "nothing was asked once the cache was full"
        findings.invalid.append(f"{what}: expected more products or a smaller cache, of a hundred products at least")
        return findings
    after = [step for step in scanned.steps if step.products >= full.products]
    lowest_kept = min(step.kept.bytes for step in after)
    findings.judge(
        "bytes kept, lowest once full",
        f"{lowest_kept:,}",
        f"at least {_FULL:.0%} of the bound",
        lowest_kept >= _FULL * targets.cache_bytes,
    )
    _judge_growth(findings, scanned, full, targets.max_growth_mb)
    slope = slope_of([(float(step.products), float(step.rss_bytes)) for step in after])
    if slope is not None:
        shown = f"{slope.value:+.1f} bytes a product ({slope.low:+.1f} to {slope.high:+.1f})"
        findings.note("memory's slope once full", shown)
    if gained := full.kept.products - start.kept.products:
        counted, resident = full.kept.bytes - start.kept.bytes, full.rss_bytes - start.rss_bytes
        findings.note("bytes a product, as the service counts", f"{counted / gained:,.0f}")
        findings.note("resident memory until full, by product kept", f"{resident / gained:,.0f}")
    return findings


def _judge_growth(findings: Findings, scanned: Scanned, full: Step, max_growth_mb: float) -> None:
    # A reading with so many products answered was taken while the next ones were in work.
    before = [reading.rss_bytes for reading in scanned.readings if reading.ended < full.products]
    before += [step.rss_bytes for step in scanned.steps if step.products <= full.products]
    after = [reading.rss_bytes for reading in scanned.readings if reading.ended >= full.products]
    after += [step.rss_bytes for step in scanned.steps if step.products > full.products]
    until, once = max(before) / _MB, max(after) / _MB
    findings.judge(
        "growth of resident memory once full",
        f"{once - until:+.1f} MB ({until:.1f} MB at most until then, {once:.1f} MB after)",
        f"at most {max_growth_mb:g} MB",
        once - until <= max_growth_mb,
    )


def _scan(parsed: argparse.Namespace, target: Target, say: Callable[[str], object]) -> Scanned:
    scanned = Scanned()
    sent, start_s = 0, time.monotonic()
    requests = scan_bodies(parsed.products, parsed.at_once, parsed.seed)
    # Short steps until the cache is full, to see when; then as many as give a curve.
    at_a_step = short = parsed.in_flight
    long = max(short, parsed.products // parsed.at_once // _STEPS)
    with ExitStack() as stack:
        connections = [
            Patient(target.endpoint, parsed.request_timeout, parsed.patience) for _ in range(parsed.in_flight)
        ]
        for connection in connections:
            stack.callback(connection.close)
        meter = Meter(target, lambda: sent)
        scanned.readings = meter.readings
        scanned.steps.append(_step(target, connections[0], sent))
        stack.enter_context(Ticker(_METER_S, meter.tick))
        try:
            while batch := list(itertools.islice(requests, at_a_step)):
                if time.monotonic() - start_s > parsed.max_minutes * 60:
                    scanned.failure = f"time was up after {sent:,} of {parsed.products:,} products"
                    break
                ask_all(connections, ScoreProtocol.path, [body for _, body in batch])
                sent += sum(count for count, _ in batch)
                scanned.steps.append(_step(target, connections[0], sent))
                last = scanned.steps[-1]
                at_a_step = long if last.kept.bytes >= _FULL * parsed.cache_bytes else short
                say(f"{sent:,} products, {last.rss_bytes / _MB:.0f} MB, {last.kept.products:,} kept")
        except KeyboardInterrupt:
            scanned.interrupted = True
        except (ServerError, OSError, HTTPException) as error:
            scanned.failure = f"ended after {sent:,} products: {error or type(error).__name__}"
    scanned.refused = sum(connection.refused for connection in connections)
    scanned.elapsed_s = time.monotonic() - start_s
    return scanned


def _step(target: Target, connection: LeanConnection, products: int) -> Step:
    kept = Kept.of(read_counters(connection))
    rss_bytes = target.rss_bytes()
    if kept is None or rss_bytes is None:
        raise ServerError("expected shelfscore_kept_products and shelfscore_kept_bytes in /metrics, and its memory")
    return Step(products, rss_bytes, kept)


def _steps_table(steps: Sequence[Step], full: Step | None) -> Sequence[Sequence[str]]:
    apart = max(1, len(steps) // _ROWS)
    shown = sorted({*range(0, len(steps), apart), len(steps) - 1, *([steps.index(full)] if full else [])})
    rows = [("products", "resident MB", "products kept", "MB kept", "")]
    for place in shown:
        step = steps[place]
        word = "start" if place == 0 else "first full" if step is full else "end" if place == len(steps) - 1 else ""
        rows.append(
            (
                f"{step.products:,}",
                f"{step.rss_bytes / _MB:.1f}",
                f"{step.kept.products:,}",
                f"{step.kept.bytes / _MB:.1f}",
                word,
            )
        )
    return rows


def _check(parsed: argparse.Namespace) -> None:
    for name in ("products", "in_flight", "cache_bytes"):
        if getattr(parsed, name) < 1:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 1 or more, found {getattr(parsed, name)}")
    if not 1 <= parsed.at_once <= PRODUCTS_AT_MOST:
        raise LoadtestError(f"--at-once: expected 1 to {PRODUCTS_AT_MOST}, found {parsed.at_once}")
