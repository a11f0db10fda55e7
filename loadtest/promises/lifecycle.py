"""`lifecycle`: starts, stops under load, and swaps of the model under load."""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..client import Endpoint
from ..errors import Exit, LoadtestError
from ..generator.wire import WireRequest
from .starting import measure_starts
from .stopping import measure_stops
from .swapping import measure_swaps
from .verdict import Findings, machine_line
from .workload import add_traffic_options, requests_of

_PARTS = ("start", "stop", "swap")


def add_lifecycle_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    who = parser.add_argument_group("the server")
    who.add_argument(
        "--artifact", type=Path, default=Path("models/default"), metavar="FOLDER", help="default %(default)s"
    )
    who.add_argument("--other-artifact", type=Path, metavar="FOLDER", help="of another version: swap to it and back")
    who.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the service; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, raw samples included")
    add_traffic_options(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("--only", choices=_PARTS, action="append", help="this part alone; may be repeated")
    load.add_argument(
        "--rate", type=float, default=20.0, help="requests a second, stops and swaps (default %(default)s)"
    )
    load.add_argument("--products", type=int, default=64, help="of each request (default %(default)s)")
    load.add_argument("--starts", type=int, default=5, help="default %(default)s")
    load.add_argument("--stops", type=int, default=3, help="default %(default)s")
    load.add_argument("--swaps", type=int, default=4, help="default %(default)s")
    must = parser.add_argument_group("what must hold")
    must.add_argument("--max-ready-s", type=float, default=3.0, help="default %(default)s")
    must.add_argument("--max-drain-s", type=float, default=10.0, help="the service's own limit (default %(default)s)")


def lifecycle(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    parts = parsed.only or [part for part in _PARTS if part != "swap" or parsed.other_artifact]
    if "swap" in parts and parsed.other_artifact is None:
        raise LoadtestError("--only swap: expected --other-artifact FOLDER too")
    if min(parsed.starts, parsed.stops, parsed.swaps) < 1:
        raise LoadtestError("--starts, --stops, --swaps: expected 1 or more")
    findings = Findings(
        "lifecycle",
        [
            f"service on {parsed.artifact}; stops and swaps under {parsed.rate:g} requests/s of {parsed.products} "
            f"products, open loop",
            machine_line(),
        ],
    )
    requests: Callable[[Endpoint], list[WireRequest]] = partial(_requests, parsed)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        server = (parsed.artifact, parsed.setting, environment, Path(folder))
        try:
            if "start" in parts:
                measure_starts(findings, *server, starts=parsed.starts, max_ready_s=parsed.max_ready_s, say=say)
            if "stop" in parts:
                measure_stops(
                    findings,
                    *server,
                    requests,
                    stops=parsed.stops,
                    rate=parsed.rate,
                    seed=parsed.seed,
                    max_drain_s=parsed.max_drain_s,
                    say=say,
                )
            if "swap" in parts:
                measure_swaps(
                    findings,
                    parsed.artifact,
                    parsed.other_artifact,
                    *server[1:],
                    requests,
                    swaps=parsed.swaps,
                    rate=parsed.rate,
                    seed=parsed.seed,
                    say=say,
                )
        except KeyboardInterrupt:
            findings.interrupted = True
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def _requests(parsed: argparse.Namespace, endpoint: Endpoint) -> list[WireRequest]:
    return requests_of(parsed, endpoint, parsed.products, {})
