"""`counts`: do the service's counters say what the load generator saw?"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from ..benchmarks.observed import Counters, read_counters
from ..client import Connection, Endpoint
from ..errors import Exit, LoadtestError, ServerError
from ..generator.process import play
from ..generator.wire import WireRequest
from ..promises.verdict import Findings, machine_line
from ..promises.workload import open_plan
from ..target import add_target_options, target_of
from .count_check import OUTCOMES, Grown, Told, judge_calm, judge_counts, judge_seen
from .count_traffic import Kinds, calm, one_by_one

_KEY = "a-key-of-this-run"
_FAULTS = "exception@1500,nan@1600"
"""Micro-batches that fail, so that failures are counted too: far beyond those of the calm part."""

_PATIENT = ("MAX_TIMEOUT_MS=9000", "MAX_BACKLOG_MS=9000")
"""So that nothing of the calm part is refused on a slow machine; the wild part has deadlines of its own."""

_SETTLE_S = 30.0
_IN_FLIGHT = "shelfscore_in_flight_requests"


def add_counts_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_target_options(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("--calm", type=int, default=120, help="good requests of the calm part (default %(default)s)")
    load.add_argument("--calm-rate", type=float, default=10.0, help="requests/s of it (default %(default)s)")
    load.add_argument("--wild-s", type=float, default=15.0, help="of the wild part (default %(default)s)")
    load.add_argument("--wild-rate", type=float, default=200.0, help="requests/s of it (default %(default)s)")
    load.add_argument("--seed", type=int, default=1, help="of arrivals and what is made up (default %(default)s)")
    load.add_argument("--key", help="of a server that runs already, where it asks for one")


def counts(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    if not (1 <= parsed.calm <= 10_000 and parsed.calm_rate > 0 and 0 < parsed.wild_s <= 600 and parsed.wild_rate > 0):
        raise LoadtestError("expected --calm from 1 to 10000, --wild-s up to 600, and rates above 0")
    own = not parsed.host
    if own:
        parsed.setting = [f"API_KEYS={_KEY}", f"PLANTED_FAULTS={_FAULTS}", *_PATIENT, *parsed.setting]
    with target_of(parsed, environment, say) as target:
        kinds = Kinds(target.endpoint, _KEY if own else parsed.key, parsed.seed)
        wild = list(islice(kinds.wild(), int(parsed.wild_rate * parsed.wild_s)))
        parts = [
            ("calm", calm(kinds, parsed.calm), parsed.calm_rate),
            ("wild", wild, parsed.wild_rate),
        ]
        findings = Findings("counts", [f"server {target.url}, seed {parsed.seed}", machine_line()])
        seen = []
        for name, requests, rate in parts:
            told, grown = _part(target.endpoint, requests, rate, parsed.seed, findings)
            say(f"{name}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(told.outcomes.items()))}")
            judge_counts(findings, name, told, grown)
            if name == "calm":
                judge_calm(findings, name, told, grown)
            seen.append(told)
    judge_seen(findings, seen, [each for each in OUTCOMES if own or each != "failed"])
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def _part(
    endpoint: Endpoint, requests: Sequence[WireRequest], rate: float, seed: int, findings: Findings
) -> tuple[Told, Grown]:
    """Sends each request once, and reads the counters before and after."""
    before = _settled(endpoint)
    played = play(open_plan(endpoint, requests, one_by_one(len(requests), rate, seed)))
    findings.interrupted = findings.interrupted or played.stopped
    return Told.of(played), Grown(before, _settled(endpoint))


def _settled(endpoint: Endpoint) -> Counters:
    """The counters once nothing is in work but the scrape itself.

    Raises:
        ServerError: that does not come, or there are none.
    """
    connection = Connection(endpoint, 5.0)
    until_s = time.monotonic() + _SETTLE_S
    try:
        while True:
            # Nothing, while the server is too busy with what is left of the load.
            counters = read_counters(connection)
            in_flight = counters.get(_IN_FLIGHT)
            if in_flight is not None and in_flight <= 1:
                return counters
            if time.monotonic() > until_s:
                found = "no such metric" if in_flight is None else f"{in_flight:g}"
                raise ServerError(f"{_IN_FLIGHT}: expected 1, the scrape, within {_SETTLE_S:g} s, found {found}")
            time.sleep(0.05)
    finally:
        connection.close()
