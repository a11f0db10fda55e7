"""`python -m loadtest overhead`: its options, its report, its verdict."""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import Exit, LoadtestError
from ..machine import machine
from ..measure import percentile
from ..report import write_json
from ..traffic.requests import load_traffic
from .contestants import ours
from .hosting import add_server_options, hosted_as_asked
from .overhead import TEXTS, Entry, Timed, Turn, make_blocks, measure_overhead
from .protocols import ScoreProtocol
from .spread import spread

LARGE, SMALL = 64, 1
_SYNTHETIC_SPARE = 4


@dataclass(frozen=True, slots=True)
class Targets:
    """What may be added, at the median request of the median round."""

    share_at_64: float
    """Of the latency, at 64 products."""
    ms_at_1: float
    """At 1 product."""


def add_overhead_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    parser.add_argument("--artifact", action="append", default=[], metavar="NAME=FOLDER", help="our service on it")
    parser.add_argument(
        "--command",
        action="append",
        default=[],
        dest="commands",
        metavar="'NAME=COMMAND {port}'",
        help="another server",
    )
    parser.add_argument("--rounds", type=int, default=6, help="default %(default)s")
    parser.add_argument("--requests", type=int, default=34, help="a turn (default %(default)s)")
    parser.add_argument("--traffic", type=Path, metavar="FILE", help="JSONL with many products; synthetic without")
    parser.add_argument("--seed", type=int, default=1, help="of synthetic traffic (default %(default)s)")
    parser.add_argument(
        "--max-share", type=float, default=0.12, help="of the time at 64 products (default %(default)s)"
    )
    parser.add_argument("--max-ms", type=float, default=1.5, help="at 1 product (default %(default)s)")
    add_server_options(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, raw figures included")


def overhead(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    print_progress: Callable[[str], object],
) -> Exit:
    """Measures and prints.

    Raises:
        LoadtestError: nothing could be measured.
    """
    for name in ("rounds", "requests"):
        if not 0 < getattr(parsed, name) <= 1000:
            raise LoadtestError(f"--{name}: expected 1 to 1000, found {getattr(parsed, name)}")
    contestants = ours(parsed.artifact, parsed.commands, environment)
    spare = _SYNTHETIC_SPARE * (parsed.rounds + 1) * parsed.requests
    traffic = load_traffic(parsed.traffic, requests=spare, products=LARGE, seed=parsed.seed)
    blocks = make_blocks(
        traffic.requests, traffic.source, sizes=(LARGE, SMALL), rounds=parsed.rounds, requests=parsed.requests
    )
    with hosted_as_asked(parsed, contestants, ScoreProtocol.ready_path) as servers:
        entries = measure_overhead(servers, blocks, 2, print_progress)
    targets = Targets(parsed.max_share, parsed.max_ms)
    code, because = judge(entries, targets)
    print_out(as_markdown(entries, parsed.rounds, parsed.requests, traffic.source, because))
    if parsed.json:
        report = {"tool": "loadtest overhead", "machine": machine(), "targets": asdict(targets), "because": because}
        write_json(parsed.json, {**report, "servers": [_entry_json(entry) for entry in entries]})
    return code


def judge(entries: Sequence[Entry], targets: Targets) -> tuple[Exit, list[str]]:
    """Whether the targets hold, for texts seen and unseen."""
    held, said = True, []
    for entry in entries:
        for texts in TEXTS:
            share = spread([_share(turn) for turn in entry.turns_of(LARGE, texts)])
            small = spread([turn.median(lambda one: one.overhead_ms) for turn in entry.turns_of(SMALL, texts)])
            assert share is not None
            assert small is not None
            where = f"{entry.name}, texts {texts}"
            for holds, line in (
                (
                    share.median <= targets.share_at_64,
                    f"{where}, 64 products: overhead {_percent(share.median)} ({_percent(share.least)} - "
                    f"{_percent(share.most)}) of the time, at most {_percent(targets.share_at_64)}",
                ),
                (
                    small.median <= targets.ms_at_1,
                    f"{where}, 1 product: overhead {small.shown(2)} ms, at most {targets.ms_at_1:g} ms",
                ),
            ):
                held = held and holds
                said.append(f"{line}: {'holds' if holds else 'does not hold'}")
    return (Exit.HELD if held else Exit.BROKEN), said


def as_markdown(entries: Sequence[Entry], rounds: int, requests: int, source: str, because: Sequence[str]) -> str:
    """The report."""
    about = machine()
    lines = [
        f"{rounds} rounds of {requests} requests of each kind, one at a time, no pair twice; traffic: {source}. "
        f"Machine: {about['cpu']}, {about['cores']} cores.",
        "Milliseconds; p50: median of the rounds (least - most), p99: over all requests. Overhead: the client's "
        "latency less the inference that Server-Timing tells: the time from the first micro-batch taken by a lane to "
        "the last one done, which holds the arrays' making, the graph, and a lane's wait while another still runs.",
        "",
        "| server | products | texts | token cache | latency p50 | p99 | inference p50 | overhead p50 | p99 "
        "| share p50 | p99 | of all time |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = [(entry, products, texts) for entry in entries for products in (LARGE, SMALL) for texts in TEXTS]
    lines += [_row(entry, products, texts) for entry, products, texts in kinds]
    lines += [
        "",
        "Where it goes, median request of the median round. Rest of the server: its total less its three stages. "
        "Outside: the client's latency less that total: sockets, HTTP parsing, and the client, whose own CPU time is "
        "beside it. Lanes filled: the micro-batches' own time over the lanes that they could fill, as a share of the "
        "inference (of the means).",
        "",
        "| server | products | texts | queue | tokenize | inference | lanes filled | rest of the server | outside "
        "| client's CPU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_stages_row(entry, products, texts) for entry, products, texts in kinds]
    return "\n".join([*lines, "", *(f"- {line}" for line in because)]) + "\n"


def _row(entry: Entry, products: int, texts: str) -> str:
    turns = entry.turns_of(products, texts)
    timed = [one for turn in turns for one in turn.timed]
    hits = [turn.token_hits for turn in turns if turn.token_hits is not None]
    latency, inference, added = (
        _shown([turn.median(figure) for turn in turns]) for figure in (_latency, _inference, _overhead)
    )
    shares = [_share(turn) for turn in turns]
    total = sum(one.overhead_ms for one in timed) / sum(one.latency_ms for one in timed)
    cells = [
        f"{sum(hits) / len(hits):.0%} hits" if hits else "not told",
        latency,
        f"{percentile([one.latency_ms for one in timed], 0.99):.2f}",
        inference,
        added,
        f"{percentile([one.overhead_ms for one in timed], 0.99):.2f}",
        f"{_percent(statistics.median(shares))} ({_percent(min(shares))} - {_percent(max(shares))})",
        _percent(percentile([one.overhead_share for one in timed], 0.99)),
        _percent(total),
    ]
    return f"| {entry.name} | {products} | {texts} | " + " | ".join(cells) + " |"


def _stages_row(entry: Entry, products: int, texts: str) -> str:
    turns = entry.turns_of(products, texts)
    figures: Sequence[Callable[[Timed], float]] = (
        lambda one: one.stages_ms.get("queue", 0.0),
        lambda one: one.stages_ms.get("tokenize", 0.0),
        _inference,
    )
    cells = [_median_of_medians(turns, figure) for figure in figures]
    filled = spread([turn.lanes_filled for turn in turns if turn.lanes_filled is not None])
    cells.append(f"{filled.median:.0%}" if filled else "not told")
    cells.append(_median_of_medians(turns, lambda one: 2 * one.stages_ms["total"] - sum(one.stages_ms.values())))
    cells.append(_median_of_medians(turns, lambda one: one.latency_ms - one.stages_ms["total"]))
    client = spread([turn.client_cpu_ms for turn in turns])
    cells.append(f"{client.median:.2f}" if client else "")
    return f"| {entry.name} | {products} | {texts} | " + " | ".join(cells) + " |"


def _median_of_medians(turns: Sequence[Turn], figure: Callable[[Timed], float]) -> str:
    found = spread([turn.median(figure) for turn in turns])
    return f"{found.median:.2f}" if found else ""


def _shown(values: Sequence[float]) -> str:
    found = spread(values)
    return found.shown(2) if found else ""


def _latency(one: Timed) -> float:
    return one.latency_ms


def _inference(one: Timed) -> float:
    return one.inference_ms


def _overhead(one: Timed) -> float:
    return one.overhead_ms


def _overhead_share(one: Timed) -> float:
    return one.overhead_share


def _share(turn: Turn) -> float:
    return turn.median(_overhead_share)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "turns": [asdict(turn) for turn in entry.turns]}
