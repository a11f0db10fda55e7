"""`python -m loadtest cache`: its options, its report, its verdict."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import Exit, LoadtestError
from ..machine import machine
from ..report import write_json
from ..traffic.requests import load_traffic
from ..traffic.zipf import zipf_requests
from .cache import CACHES, Entry, Turn, measure_caches
from .contestants import Contestant, by_command, named, shelfscore
from .hosting import add_server_options, hosted_as_asked
from .protocols import ScoreProtocol
from .spread import spread

_QUARTERS = 4
_MIB = 1 << 20


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    parser.add_argument("--artifact", metavar="NAME=FOLDER", help="our service on an artifact")
    parser.add_argument("--command", dest="line", metavar="'NAME=COMMAND {port}'", help="another server instead")
    parser.add_argument("--rounds", type=int, default=8, help="a multiple of 4 (default %(default)s)")
    parser.add_argument("--requests", type=int, default=50, help="a round (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=100, help="requests before, not counted (default %(default)s)")
    parser.add_argument("--traffic", type=Path, metavar="FILE", help="JSONL with many queries; synthetic without")
    parser.add_argument("--products", type=int, default=64, help="of synthetic traffic (default %(default)s)")
    parser.add_argument("--queries", type=int, default=500, help="of synthetic traffic (default %(default)s)")
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law (default %(default)s)")
    parser.add_argument(
        "--churn",
        type=float,
        default=0.1,
        help="share of a list that differs when its query returns (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of ranks, draws and churn (default %(default)s)")
    parser.add_argument("--score-cache-bytes", type=int, default=32 * _MIB, help="default %(default)s")
    parser.add_argument("--token-cache-bytes", type=int, default=32 * _MIB, help="default %(default)s")
    add_server_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, raw latencies included")


def cache(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    print_progress: Callable[[str], object],
) -> Exit:
    """Measures and prints.

    Raises:
        LoadtestError: nothing could be measured.
    """
    _check(parsed)
    traffic = load_traffic(parsed.traffic, requests=parsed.queries, products=parsed.products, seed=parsed.seed)
    requests = zipf_requests(
        traffic.requests,
        parsed.warmup + parsed.rounds * parsed.requests,
        traffic.source,
        exponent=parsed.exponent,
        churn=parsed.churn,
        seed=parsed.seed,
    )
    warm_up, counted = requests[: parsed.warmup], requests[parsed.warmup :]
    rounds = [counted[start : start + parsed.requests] for start in range(0, len(counted), parsed.requests)]
    with hosted_as_asked(parsed, _contestants(parsed, environment), ScoreProtocol.ready_path) as servers:
        entries = measure_caches(servers, warm_up, rounds, print_progress)
    asked, existing = ({request.query for request in some} for some in (counted, traffic.requests))
    about = (
        f"{parsed.rounds} rounds of {parsed.requests} requests after {parsed.warmup} to warm up, one at a time, the "
        f"same to each server; traffic: {traffic.source}. Zipf exponent {parsed.exponent:g} over {len(existing)} "
        f"queries, {len(asked)} of them asked; {parsed.churn:.0%} of a list differs each time; seed {parsed.seed}."
    )
    code, because = judge(entries)
    print_out(as_markdown(entries, about, because))
    if parsed.json:
        servers_json = [{**asdict(entry), "hit_ratio": _hits_json(entry)} for entry in entries]
        write_json(
            parsed.json,
            {
                "tool": "loadtest cache",
                "machine": machine(),
                "about": about,
                "because": because,
                "servers": servers_json,
            },
        )
    return code


def judge(entries: Sequence[Entry]) -> tuple[Exit, list[str]]:
    """Whether no cache changed a number, which says nothing of one that was never hit."""
    base, scores, _ = entries
    unused = [name for name, entry in (("score", scores), ("token", base)) if not entry.hit_ratio(name)]
    if unused:
        return Exit.INVALID, [f"no hit in the {' and the '.join(unused)} cache, or none that the server tells of"]
    held, said = True, []
    for entry in entries[1:]:
        compared = entry.compared
        same = not compared.different
        held = held and same
        difference = f"{compared.different} differ, by {compared.largest:.2g} at most"
        said.append(
            f"{entry.name} against {base.name}: of {compared.numbers} scores and logits "
            f"{'all are the same to the last digit' if same else difference}"
        )
    return (Exit.HELD if held else Exit.BROKEN), said


def as_markdown(entries: Sequence[Entry], about: str, because: Sequence[str]) -> str:
    """The report."""
    runs_on = machine()
    base, scores, tokens = entries
    lines = [
        about,
        f"Machine: {runs_on['cpu']}, {runs_on['cores']} cores. Median of the rounds (least - most); hit ratios over "
        "all of them, and by quarter.",
        "",
        "| server | p50 ms | mean ms | pairs/s | score cache hits | token cache hits |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        cells = [
            _shown([turn.p50_ms for turn in entry.turns], 1),
            _shown([turn.mean_ms for turn in entry.turns], 1),
            _shown([turn.pairs_per_s for turn in entry.turns], 0),
            *(_hits_shown(entry, name) for name in CACHES),
        ]
        lines.append(f"| {entry.name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| gain, round by round | p50 | mean | pairs/s |",
        "|---|---|---|---|",
        _gain_row("score cache on over off", scores, base),
        _gain_row("token cache on over off, no score cache", base, tokens),
        "",
        *(f"- {reason}" for reason in because),
    ]
    return "\n".join(lines) + "\n"


def _contestants(parsed: argparse.Namespace, environment: Mapping[str, str]) -> list[Contestant]:
    """No score cache; with one; neither that nor a token cache."""
    sizes = {
        "no score cache": (0, parsed.token_cache_bytes),
        "score cache": (parsed.score_cache_bytes, parsed.token_cache_bytes),
        "no cache at all": (0, 0),
    }
    made = []
    for name, (score_bytes, token_bytes) in sizes.items():
        caches = {"SHELFSCORE_SCORE_CACHE_BYTES": str(score_bytes), "SHELFSCORE_TOKEN_CACHE_BYTES": str(token_bytes)}
        made.append(_contestant(parsed, name, {**environment, **caches}))
    return made


def _contestant(parsed: argparse.Namespace, name: str, environment: Mapping[str, str]) -> Contestant:
    if parsed.artifact:
        own, folder = named(parsed.artifact, "FOLDER")
        return shelfscore(f"{own}, {name}", Path(folder), environment)
    own, line = named(parsed.line, "COMMAND")
    return by_command(f"{own}, {name}", line, environment)


def _check(parsed: argparse.Namespace) -> None:
    if bool(parsed.artifact) == bool(parsed.line):
        raise LoadtestError("expected either --artifact NAME=FOLDER or --command NAME=COMMAND")
    for name in ("rounds", "requests", "products", "queries", "score_cache_bytes", "token_cache_bytes"):
        if getattr(parsed, name) < 1:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 1 or more, found {getattr(parsed, name)}")
    if parsed.rounds % _QUARTERS:
        raise LoadtestError(f"--rounds: expected a multiple of {_QUARTERS}, found {parsed.rounds}")
    if parsed.warmup < 1:
        raise LoadtestError(f"--warmup: expected 1 or more, found {parsed.warmup}")
    if not (math.isfinite(parsed.exponent) and parsed.exponent >= 0):
        raise LoadtestError(f"--exponent: expected 0 or more, found {parsed.exponent}")
    if not 0 <= parsed.churn <= 1:
        raise LoadtestError(f"--churn: expected 0 to 1, found {parsed.churn}")


def _quarters(entry: Entry, name: str) -> list[float | None]:
    size = len(entry.turns) // _QUARTERS
    return [entry.hit_ratio(name, slice(quarter * size, (quarter + 1) * size)) for quarter in range(_QUARTERS)]


def _hits_shown(entry: Entry, name: str) -> str:
    over_all = entry.hit_ratio(name)
    if over_all is None:
        return "none looked up"
    quarters = ", ".join("none" if ratio is None else f"{ratio:.1%}" for ratio in _quarters(entry, name))
    return f"{over_all:.1%} ({quarters})"


def _hits_json(entry: Entry) -> dict[str, Any]:
    return {name: {"all": entry.hit_ratio(name), "quarters": _quarters(entry, name)} for name in CACHES}


def _gain_row(what: str, entry: Entry, base: Entry) -> str:
    both = list(zip(entry.turns, base.turns, strict=True))
    figures: Sequence[Callable[[Turn, Turn], float]] = (
        lambda mine, theirs: theirs.p50_ms / mine.p50_ms,
        lambda mine, theirs: theirs.mean_ms / mine.mean_ms,
        lambda mine, theirs: mine.pairs_per_s / theirs.pairs_per_s,
    )
    cells = [_shown([figure(mine, theirs) for mine, theirs in both], 2) for figure in figures]
    return f"| {what} | " + " | ".join(cells) + " |"


def _shown(values: Sequence[float], digits: int) -> str:
    found = spread(values)
    return found.shown(digits) if found else ""
