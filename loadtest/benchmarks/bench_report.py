"""What a benchmark says: a Markdown table for people, JSON with every raw latency."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Exit
from ..machine import machine
from ..traffic.distinct import pair_key, text_key
from .agreement import mean_spearman, same_top
from .bench import Entry, Plan, Result, Turn
from .bench_traffic import Chosen
from .observed import Found
from .protocols import ProductText
from .spread import spread


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which the benchmark ran."""

    chosen: Chosen
    plan: Plan
    load_before: float
    load_after: float
    peer_missing: str | None
    """Why there is no peer; None where there is one, or none was wanted."""
    min_ratio: float | None
    """The first contestant's pairs/s over the peer's must be at least this, at each number in flight."""
    max_p99_ratio: float | None
    """Its p99 over the peer's may be at most this."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A contestant's figure over the peer's, at one number in flight."""

    value: float
    by_round: Sequence[float]

    def shown(self, digits: int) -> str:
        """`value (least - most by round)`."""
        return f"{self.value:.{digits}f} ({min(self.by_round):.{digits}f} - {max(self.by_round):.{digits}f})"


def rate_ratio(result: Result, entry: Entry, in_flight: int) -> Ratio | None:
    """Pairs/s over the peer's: the median of the rounds; None without both."""
    found = [mine.pairs_per_s / theirs.pairs_per_s for mine, theirs in _beside_peer(result, entry, in_flight)]
    return Ratio(statistics.median(found), found) if found else None


def p99_ratio(result: Result, entry: Entry, in_flight: int) -> Ratio | None:
    """p99 over the peer's, each over all its requests; None without both. A round has too few requests for its own."""
    peer = peer_of(result)
    found = [mine.p99_ms / theirs.p99_ms for mine, theirs in _beside_peer(result, entry, in_flight)]
    return Ratio(entry.p99_ms(in_flight) / peer.p99_ms(in_flight), found) if found and peer else None


def _beside_peer(result: Result, entry: Entry, in_flight: int) -> list[tuple[Turn, Turn]]:
    """The turns of the rounds that both finished."""
    peer = peer_of(result)
    if peer is None or peer is entry:
        return []
    theirs = {turn.number: turn for turn in peer.turns_at(in_flight)}
    return [(turn, theirs[turn.number]) for turn in entry.turns_at(in_flight) if turn.number in theirs]


def judge(result: Result, conditions: Conditions) -> tuple[Exit, list[str]]:
    """The exit code, and why in words."""
    if result.interrupted:
        return Exit.INTERRUPTED, ["interrupted: measured so far"]
    failed = [f"{entry.contestant.name} failed: {entry.failure}" for entry in result.entries if entry.failure]
    if failed:
        return Exit.CONTESTANT_FAILED, failed
    if conditions.min_ratio is None and conditions.max_p99_ratio is None:
        return Exit.HELD, []
    if peer_of(result) is None:
        return Exit.INVALID, [f"a ratio cannot be judged without a peer: {conditions.peer_missing}"]
    first = result.entries[0]
    held, said = True, []
    for in_flight in conditions.plan.in_flight:
        rate, p99 = rate_ratio(result, first, in_flight), p99_ratio(result, first, in_flight)
        where = f"{first.contestant.name} at {in_flight} in flight"
        if rate and conditions.min_ratio is not None:
            holds = rate.value >= conditions.min_ratio
            held = held and holds
            said.append(
                f"{where}: {rate.shown(3)} times the peer's pairs/s, required {conditions.min_ratio:g}: {_word(holds)}"
            )
        if p99 and conditions.max_p99_ratio is not None:
            holds = p99.value <= conditions.max_p99_ratio
            held = held and holds
            said.append(
                f"{where}: p99 {p99.shown(3)} of the peer's, at most {conditions.max_p99_ratio:g}: {_word(holds)}"
            )
    return Exit.HELD if held else Exit.BROKEN, said


def _word(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def as_markdown(result: Result, conditions: Conditions) -> str:
    """The report."""
    plan = conditions.plan
    about = machine()
    lines = [
        f"{plan.rounds} rounds of {plan.requests} requests at each number in flight, contestants in turns. p50, "
        "pairs/s and its ratio: median of the rounds (least - most). p99 and its ratio: over all "
        f"{plan.rounds * plan.requests} requests (least - most of the rounds).",
        _traffic_line(conditions, result.text),
        f"Machine: {about['cpu']}, {about['cores']} cores, load {conditions.load_before:.1f} before, "
        f"{conditions.load_after:.1f} after. The client's share is its CPU time over all CPU time used.",
        "",
        "| server | in flight | p50 ms | p99 ms | pairs/s | pairs/s to peer's | p99 to peer's | CPU ms/request "
        "| cores busy | client's share | products in memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(result, entry, in_flight, plan) for in_flight in plan.in_flight for entry in result.entries]
    lines.append("")
    if any(entry.found.in_memory is not None for entry in result.entries):
        lines.append(
            "Products in memory: the share of products of which the server had the state, or a cross-encoder the token "
            "ids, in memory, over all rounds (least - most)."
        )
    if conditions.peer_missing:
        lines.append(f"Measured without the peer: {conditions.peer_missing}.")
    for entry in result.entries:
        lines.append(_about(result, entry, conditions.chosen.catalogue))
        if entry.failure:
            lines += ["", f"{entry.contestant.name} FAILED: {entry.failure}. Its last lines:", "```"]
            lines += [*entry.last_lines, "```"]
    if peer_of(result):
        lines.append("Rank agreement: mean Spearman with the peer's scores, and share of requests with the same best.")
    code, because = judge(result, conditions)
    if because:
        lines += ["", f"{code.name}:", *(f"- {reason}" for reason in because)]
    return "\n".join(lines) + "\n"


def as_json(result: Result, conditions: Conditions) -> dict[str, Any]:
    """Everything, with raw latencies."""
    code, because = judge(result, conditions)
    return {
        "tool": "loadtest bench",
        "machine": machine(),
        "load": {"before": conditions.load_before, "after": conditions.load_after},
        "plan": asdict(conditions.plan),
        "traffic": conditions.chosen.traffic.source,
        "law": conditions.chosen.law,
        "catalogue": conditions.chosen.catalogue,
        "products": conditions.chosen.products,
        "peer_missing": conditions.peer_missing,
        "product_text": {"fields": list(result.text.fields), "omit_if_in": dict(result.text.omit_if_in or {})},
        "verdict": {"exit": int(code), "name": code.name.lower(), "because": because},
        "contestants": [_entry_json(result, entry, conditions.plan) for entry in result.entries],
    }


def _row(result: Result, entry: Entry, in_flight: int, plan: Plan) -> str:
    turns = entry.turns_at(in_flight)
    if not turns:
        return f"| {entry.contestant.name} | {in_flight} |" + " |" * 9
    is_peer = entry is peer_of(result)
    rate, p99 = rate_ratio(result, entry, in_flight), p99_ratio(result, entry, in_flight)
    p99s = spread([turn.p99_ms for turn in turns])
    used_s, client_s = sum(turn.cpu_s for turn in turns), sum(turn.client_cpu_s for turn in turns)
    cells = [
        _shown([turn.p50_ms for turn in turns], 1),
        f"{entry.p99_ms(in_flight):,.1f} ({p99s.least:,.1f} - {p99s.most:,.1f})" if p99s else "",
        _shown([turn.pairs_per_s for turn in turns], 0),
        "1" if is_peer else rate.shown(2) if rate else "",
        "1" if is_peer else p99.shown(2) if p99 else "",
        f"{used_s * 1e3 / (len(turns) * plan.requests):.0f}",
        f"{used_s / sum(turn.wall_s for turn in turns):.2f}",
        f"{client_s / max(client_s + used_s, 1e-9):.1%}",
        _in_memory_shown(turns),
    ]
    return f"| {entry.contestant.name} | {in_flight} | " + " | ".join(cells) + " |"


def _in_memory_shown(turns: Sequence[Turn]) -> str:
    over_all = Found.together(turn.found for turn in turns).in_memory
    found = spread([turn.found.in_memory for turn in turns if turn.found.in_memory is not None])
    return "" if over_all is None or found is None else f"{over_all:.1%} ({found.least:.1%} - {found.most:.1%})"


def _traffic_line(conditions: Conditions, text: ProductText) -> str:
    chosen = conditions.chosen
    pairs = [(request.query, product) for request in chosen.requests for product in request.products]
    different = len({pair_key(query, product) for query, product in pairs})
    products = {text_key(product.get("title")) for _, product in pairs}
    texts = {text.render(product) for _, product in pairs}
    parts = [
        chosen.traffic.source,
        chosen.law,
        f"a catalogue of {chosen.catalogue:,} products, {len(products):,} of them asked for"
        if chosen.catalogue
        else "",
        f"{len(chosen.requests)} requests to each contestant, {conditions.plan.warmup} of them to warm up, "
        f"{len(pairs)} pairs, {'none of them twice' if different == len(pairs) else f'{different} of them different'}",
        f"{len(texts)} different product texts",
        chosen.products,
    ]
    return f"Traffic: {'; '.join(filter(None, parts))}."


def _about(result: Result, entry: Entry, catalogue: int | None) -> str:
    """What the table has no room for."""
    facts = []
    if entry.ready_s is not None:
        facts.append(f"ready in {entry.ready_s:.1f} s")
    if entry.usage:
        facts.append(f"{entry.usage.rss_bytes / 1e6:,.0f} MB at its end")
    found = entry.found
    facts += [f"{share:.0%} of lookups in its {cache} cache hit" for cache, share in found.hits.items()]
    if found.states:
        shares = ", ".join(f"{share:.1%} {source}" for source, share in found.state_shares.items())
        facts.append(f"product states by source: {shares}")
    if entry.kept:
        of = f" ({entry.kept.products / catalogue:.1%} of the catalogue)" if catalogue else ""
        facts.append(f"{entry.kept.products:,} products{of} in {entry.kept.bytes / 1e6:,.1f} MB of memory at its end")
    facts += [f"{setting}={value}" for setting, value in entry.contestant.settings.items()]
    if agreement := _agreement_shown(result, entry):
        facts.append(f"rank agreement {agreement}")
    facts += [f"{name} {version}" for name, version in _versions(entry).items()]
    return f"- {entry.contestant.name}: {', '.join(facts) or 'nothing is known'}."


def _entry_json(result: Result, entry: Entry, plan: Plan) -> dict[str, Any]:
    return {
        "name": entry.contestant.name,
        "peer": entry.contestant.peer,
        "failure": entry.failure,
        "last_lines": list(entry.last_lines) if entry.failure else [],
        "versions": _versions(entry),
        "ready_s": entry.ready_s,
        "usage": asdict(entry.usage) if entry.usage else None,
        "settings": dict(entry.contestant.settings),
        "cache_hits": entry.found.hits,
        "product_states": entry.found.state_shares,
        "kept": asdict(entry.kept) if entry.kept else None,
        "agreement": _agreement(result, entry),
        "in_flight": [_level_json(result, entry, in_flight) for in_flight in plan.in_flight],
    }


def _level_json(result: Result, entry: Entry, in_flight: int) -> dict[str, Any]:
    turns = entry.turns_at(in_flight)
    rate, p99 = rate_ratio(result, entry, in_flight), p99_ratio(result, entry, in_flight)
    return {
        "in_flight": in_flight,
        "p99_ms": entry.p99_ms(in_flight) if turns else None,
        "in_memory": Found.together(turn.found for turn in turns).in_memory,
        "pairs_per_s_to_peer": asdict(rate) if rate else None,
        "p99_to_peer": asdict(p99) if p99 else None,
        "rounds": [{**asdict(turn), "p50_ms": turn.p50_ms, "pairs_per_s": turn.pairs_per_s} for turn in turns],
    }


def peer_of(result: Result) -> Entry | None:
    """The peer's entry."""
    return next((entry for entry in result.entries if entry.contestant.peer), None)


def _agreement(result: Result, entry: Entry) -> dict[str, float | None] | None:
    peer = peer_of(result)
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
