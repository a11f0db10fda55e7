"""What a benchmark says: a Markdown table for people, JSON with every raw latency."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .agreement import mean_spearman, same_top
from .bench import Entry, Plan, Result
from .errors import Exit
from .traffic import Traffic


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which the benchmark ran."""

    traffic: Traffic
    plan: Plan
    load_before: float
    load_after: float
    peer_missing: str | None
    """Why there is no peer; None where there is one, or none was wanted."""
    min_ratio: float | None
    """The first contestant's pairs/s over the peer's must be at least this."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most over rounds."""

    median: float
    least: float
    most: float

    def shown(self, digits: int) -> str:
        """`median (least - most)`."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} - {self.most:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """None of no values."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def ratios_to_peer(result: Result, entry: Entry) -> list[float]:
    """Pairs/s over the peer's, round by round; empty without both."""
    peer = _peer(result)
    if peer is None or peer is entry:
        return []
    # A contestant that failed midway has fewer rounds.
    pairs = zip(entry.turns, peer.turns, strict=False)
    return [turn.pairs_per_s / peer_turn.pairs_per_s for turn, peer_turn in pairs]


def judge(result: Result, conditions: Conditions) -> tuple[Exit, list[str]]:
    """The exit code, and why in words."""
    if result.interrupted:
        return Exit.INTERRUPTED, ["interrupted: measured so far"]
    failed = [f"{entry.contestant.name} failed: {entry.failure}" for entry in result.entries if entry.failure]
    if failed:
        return Exit.CONTESTANT_FAILED, failed
    if conditions.min_ratio is None:
        return Exit.HELD, []
    first = result.entries[0]
    ratio = spread(ratios_to_peer(result, first))
    if ratio is None:
        return Exit.INVALID, [f"--min-ratio cannot be judged without a peer: {conditions.peer_missing}"]
    name = first.contestant.name
    if ratio.median < conditions.min_ratio:
        return Exit.BROKEN, [
            f"{name} has {ratio.median:.3f} times the peer's pairs/s, required {conditions.min_ratio:g}"
        ]
    return Exit.HELD, [f"{name} has {ratio.median:.3f} times the peer's pairs/s, required {conditions.min_ratio:g}"]


def as_markdown(result: Result, conditions: Conditions) -> str:
    """The report."""
    plan = conditions.plan
    measured = plan.rounds * plan.requests
    distinct = min(measured, len(conditions.traffic.requests))
    seen = [product for request in conditions.traffic.requests[:distinct] for product in request.products]
    texts = {result.text.render(product) for product in seen}
    machine = _machine()
    lines = [
        f"{plan.rounds} rounds of {plan.requests} requests, one at a time, rounds interleaved; "
        "median over rounds (least - most).",
        f"Traffic: {conditions.traffic.source}; {distinct} of {measured} requests distinct, "
        f"{len(texts)} of {len(seen)} product texts.",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, load {conditions.load_before:.1f} before, "
        f"{conditions.load_after:.1f} after.",
        "",
        "| server | p50 ms | p99 ms | pairs/s | times the peer | rank agreement | CPU ms/request | RSS MB | ready s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(result, entry, plan) for entry in result.entries]
    lines.append("")
    if _peer(result):
        lines.append("Rank agreement: mean Spearman with the peer's scores, and share of requests with the same best.")
    if conditions.peer_missing:
        lines.append(f"Measured without the peer: {conditions.peer_missing}.")
    for entry in result.entries:
        ratios = ", ".join(f"{ratio:.3f}" for ratio in ratios_to_peer(result, entry))
        if ratios:
            lines.append(f"{entry.contestant.name}, times the peer by round: {ratios}.")
        versions = ", ".join(f"{name} {version}" for name, version in _versions(entry).items())
        if versions:
            lines.append(f"{entry.contestant.name}: {versions}.")
        if entry.failure:
            lines += ["", f"{entry.contestant.name} FAILED: {entry.failure}. Its last lines:", "```"]
            lines += [*entry.last_lines, "```"]
    code, because = judge(result, conditions)
    if because:
        lines.append(f"{code.name}: {'; '.join(because)}")
    return "\n".join(lines) + "\n"


def as_json(result: Result, conditions: Conditions) -> dict[str, Any]:
    """Everything, with raw latencies."""
    code, because = judge(result, conditions)
    return {
        "tool": "loadtest bench",
        "machine": _machine(),
        "load": {"before": conditions.load_before, "after": conditions.load_after},
        "plan": asdict(conditions.plan),
        "traffic": conditions.traffic.source,
        "peer_missing": conditions.peer_missing,
        "product_text": {"fields": list(result.text.fields), "omit_if_in": dict(result.text.omit_if_in or {})},
        "verdict": {"exit": int(code), "name": code.name.lower(), "because": because},
        "contestants": [_entry_json(result, entry) for entry in result.entries],
    }


def _row(result: Result, entry: Entry, plan: Plan) -> str:
    cells = [
        _shown([turn.p50_ms for turn in entry.turns], 1),
        _shown([turn.p99_ms for turn in entry.turns], 1),
        _shown([turn.pairs_per_s for turn in entry.turns], 0),
        "1" if entry is _peer(result) else _shown(ratios_to_peer(result, entry), 2),
        _agreement_shown(result, entry),
        _shown([turn.cpu_s * 1e3 / plan.requests for turn in entry.turns], 0),
        f"{entry.usage.rss_bytes / 1e6:,.0f}" if entry.usage else "",
        f"{entry.ready_s:.1f}" if entry.ready_s is not None else "",
    ]
    return f"| {entry.contestant.name} | " + " | ".join(cells) + " |"


def _entry_json(result: Result, entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.contestant.name,
        "peer": entry.contestant.peer,
        "failure": entry.failure,
        "last_lines": list(entry.last_lines) if entry.failure else [],
        "versions": _versions(entry),
        "ready_s": entry.ready_s,
        "usage": asdict(entry.usage) if entry.usage else None,
        "ratio_to_peer": ratios_to_peer(result, entry),
        "agreement": _agreement(result, entry),
        "rounds": [
            {
                "p50_ms": turn.p50_ms,
                "p99_ms": turn.p99_ms,
                "pairs_per_s": turn.pairs_per_s,
                "cpu_s": turn.cpu_s,
                "latencies_ms": list(turn.latencies_ms),
            }
            for turn in entry.turns
        ],
    }


def _peer(result: Result) -> Entry | None:
    return next((entry for entry in result.entries if entry.contestant.peer), None)


def _agreement(result: Result, entry: Entry) -> dict[str, float | None] | None:
    peer = _peer(result)
    if peer is None or peer is entry or not peer.scores or not entry.scores:
        return None
    return {"spearman": mean_spearman(entry.scores, peer.scores), "same_top": same_top(entry.scores, peer.scores)}


def _agreement_shown(result: Result, entry: Entry) -> str:
    found = _agreement(result, entry)
    if found is None or found["spearman"] is None or found["same_top"] is None:
        return ""
    return f"{found['spearman']:.4f}, {found['same_top']:.0%}"


def _versions(entry: Entry) -> dict[str, str]:
    keys = ("name", "version", "architecture", "precision")
    model = {f"model {key}": str(entry.manifest[key]) for key in keys if isinstance(entry.manifest.get(key), str)}
    return {**model, **entry.contestant.versions}


def _shown(values: Sequence[float], digits: int) -> str:
    found = spread(values)
    return found.shown(digits) if found else ""


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": cpu, "cores": cores, "system": platform.platform(), "python": platform.python_version()}
