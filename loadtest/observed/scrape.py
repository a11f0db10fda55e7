"""`scrape`: what does one scrape of /metrics cost, in each format, once every series is there?"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from itertools import islice
from time import monotonic

from ..client import Connection, Endpoint
from ..errors import Exit, LoadtestError, ServerError
from ..generator.process import play
from ..measure import Distribution, distribution
from ..promises.verdict import Findings, machine_line
from ..promises.workload import open_plan
from ..target import Target, add_target_options, target_of
from .count_traffic import Kinds, one_by_one

_FORMATS = {
    "text": "text/plain;version=0.0.4",
    "OpenMetrics": "application/openmetrics-text;version=1.0.0",
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}
_WARM_UP_RATE = 100.0
_FIRST = 20


@dataclass(frozen=True, slots=True)
class Scraped:
    """So many scrapes in one format."""

    bytes: int
    """Of the last one."""
    latency_ms: Distribution
    """From sending to the last byte."""
    cpu_ms: float | None
    """Of the server, a scrape; None where its process is not known."""


def add_scrape_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    much = parser.add_argument_group("how much")
    much.add_argument("--scrapes", type=int, default=300, help="in each format (default %(default)s)")
    much.add_argument("--requests", type=int, default=300, help="before, of all kinds (default %(default)s)")
    much.add_argument("--max-ms", type=float, default=5.0, help="median, and CPU time a scrape (default %(default)s)")


def scrape(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    if not (1 <= parsed.scrapes <= 100_000 and 0 <= parsed.requests <= 100_000):
        raise LoadtestError("expected --scrapes from 1 and --requests from 0 to 100000")
    with target_of(parsed, environment, say) as target:
        findings = Findings("scrape", [f"server {target.url}, idle but for the scrapes", machine_line()])
        if parsed.requests:
            kinds = Kinds(target.endpoint, None, 1)
            requests = list(islice(kinds.wild(), parsed.requests))
            play(open_plan(target.endpoint, requests, one_by_one(len(requests), _WARM_UP_RATE, 1)))
        found = {name: _scrape(target, accept, parsed.scrapes) for name, accept in _FORMATS.items()}
    judge_scrapes(findings, found, parsed.max_ms)
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def judge_scrapes(findings: Findings, found: Mapping[str, Scraped], max_ms: float) -> None:
    """Median and CPU time of each format; its p99 is the machine's too."""
    for name, one in found.items():
        latency = one.latency_ms
        findings.judge(f"{name}: p50", f"{latency.p50:.2f} ms", f"at most {max_ms:g} ms", latency.p50 <= max_ms)
        if one.cpu_ms is not None:
            findings.judge(f"{name}: CPU", f"{one.cpu_ms:.2f} ms", f"at most {max_ms:g} ms", one.cpu_ms <= max_ms)
        findings.note(f"{name}: p99, max, bytes", f"{latency.p99:.2f} ms, {latency.max:.2f} ms, {one.bytes}")
    findings.raw["scrapes"] = {name: asdict(one) for name, one in found.items()}


def _scrape(target: Target, accept: str, scrapes: int) -> Scraped:
    connection = Connection(Endpoint.parse(target.url), 5.0)
    took_ms: list[float] = []
    try:
        for number in range(-_FIRST, scrapes):
            if number == 0:
                before_s = target.cpu_s()
            started_s = monotonic()
            reply = connection.request("GET", "/metrics", headers={"accept": accept})
            if reply.status != 200:
                raise ServerError(f"{target.url}/metrics answered {reply.status}")
            if number >= 0:
                took_ms.append((monotonic() - started_s) * 1e3)
        used_s = target.cpu_s() - before_s
    except (OSError, HTTPException) as error:
        raise ServerError(f"{target.url}/metrics: {error or type(error).__name__}") from None
    finally:
        connection.close()
    latency = distribution(took_ms)
    assert latency is not None
    return Scraped(len(reply.body), latency, used_s / scrapes * 1e3 if target.pid else None)
