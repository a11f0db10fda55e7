"""`compare`: the contestants of `bench` under open-loop load, side by side."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..benchmarks.bench_traffic import (
    Chosen,
    add_traffic_options,
    check_traffic_options,
    choose_requests,
    warm_up_of,
)
from ..benchmarks.hosting import Hosted, add_server_options, hosted_as_asked
from ..benchmarks.lineup import Lineup, add_lineup_options, lineup_of
from ..benchmarks.protocols import ProductText, read_model, text_of_template
from ..errors import Exit, LoadtestError
from ..pages import add_html_option, check_html_option, write_page
from ..promises.verdict import machine_line
from .report import Gate, compare_figures, judge_compare
from .turns import Entrant, Schedule, Turn, take_turns

_TIMEOUT_S = 10.0


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_lineup_options(parser, "who takes part")
    much = parser.add_argument_group("how much")
    much.add_argument(
        "--rates", type=_rates, default=(5.0, 10.0, 20.0), metavar="A,B,C", help="requests a second (default 5,10,20)"
    )
    much.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    much.add_argument(
        "--turn-s", type=float, default=20.0, help="counted, of a contestant at a rate in a round (default %(default)s)"
    )
    much.add_argument("--turn-warmup-s", type=float, default=3.0, help="before, not counted (default %(default)s)")
    much.add_argument("--distinct", type=int, default=200, help="requests, played again in turns (default %(default)s)")
    add_traffic_options(much)
    add_server_options(much)
    parser.set_defaults(request_timeout=_TIMEOUT_S)
    out = parser.add_argument_group("what comes out")
    out.add_argument(
        "--max-p99-ratio",
        action="append",
        default=[],
        metavar="NAME/OTHER=X",
        help="break if the p99 of one is more times the other's at any rate; may be repeated",
    )
    out.add_argument(
        "--max-lag-ms",
        type=float,
        default=10.0,
        help="invalid if 1 %% of a turn was sent later than this (default %(default)s)",
    )
    out.add_argument("--json", type=Path, metavar="FILE", help="everything, raw samples included")
    add_html_option(out)


def compare(
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
    lineup = lineup_of(parsed, environment, say)
    gates = [Gate.parse(text, [one.name for one in lineup.contestants]) for text in parsed.max_p99_ratio]
    warmup = warm_up_of(parsed)
    chosen = choose_requests(parsed, warmup + parsed.distinct)
    schedule = Schedule(
        parsed.rates, parsed.rounds, parsed.turn_s, parsed.turn_warmup_s, parsed.request_timeout, parsed.seed
    )
    turns: list[Turn] = []
    interrupted = False
    try:
        with hosted_as_asked(parsed, lineup.contestants) as servers:
            text = lineup.text or text_of_template(read_model(servers[0].connection)) or ProductText()
            entrants = _entrants(lineup, servers, chosen, warmup, text)
            take_turns(entrants, schedule, turns, say=say)
    except KeyboardInterrupt:
        interrupted = True
    findings = judge_compare(
        turns, gates, _conditions(parsed, lineup, chosen), max_lag_ms=parsed.max_lag_ms, interrupted=interrupted
    )
    print_out(findings.as_text())
    findings.write(parsed.json)
    if parsed.html:
        write_page(parsed.html, findings.page(compare_figures(turns)))
    return findings.exit


def _entrants(
    lineup: Lineup, servers: Sequence[Hosted], chosen: Chosen, warmup: int, text: ProductText
) -> list[Entrant]:
    """Warmed up, one after another."""
    entrants = []
    for contestant, server in zip(lineup.contestants, servers, strict=True):
        speaks = contestant.speaks(text)
        first = () if contestant.peer else chosen.introduction
        server.ask(speaks.path, [speaks.encode(request) for request in (*first, *chosen.requests[:warmup])])
        entrants.append(Entrant.of(contestant, server, chosen.requests[warmup:], text))
    return entrants


def _conditions(parsed: argparse.Namespace, lineup: Lineup, chosen: Chosen) -> list[str]:
    arrivals = sum(parsed.rates) * parsed.rounds * (parsed.turn_s + parsed.turn_warmup_s)
    lines = [
        f"Poisson arrivals, open loop, latency from the scheduled time; {parsed.rounds} rounds of {parsed.turn_s:g} s "
        f"at each rate after {parsed.turn_warmup_s:g} s to warm up; contestants in turns, one at a time, with equal "
        f"arrivals; failed after {parsed.request_timeout:g} s; seed {parsed.seed}",
        f"traffic: {chosen.traffic.source}; {parsed.distinct} requests, each played about "
        f"{arrivals / parsed.distinct:.1f} times{f'; {chosen.law}' if chosen.law else ''}"
        f"{f'; {chosen.products}' if chosen.products else ''}",
    ]
    for contestant in lineup.contestants:
        versions = ", ".join(f"{name} {version}" for name, version in contestant.versions.items())
        given = ", ".join(f"{name}={value}" for name, value in contestant.settings.items())
        kept = "keeps scores: a request that comes again costs it little" if contestant.keeps_scores else ""
        lines.append(f"{contestant.name}: {'; '.join(filter(None, (versions, given, kept))) or 'a command'}")
    if lineup.peer_missing:
        lines.append(f"without the peer: {lineup.peer_missing}")
    return [*lines, machine_line()]


def _check(parsed: argparse.Namespace) -> None:
    check_traffic_options(parsed)
    check_html_option(parsed.html)
    if parsed.json is not None and not parsed.json.absolute().parent.is_dir():
        raise LoadtestError(f"{parsed.json}: cannot be written: no such folder")
    for name in ("rounds", "distinct", "products", "turn_s", "ready_timeout", "request_timeout"):
        if not 0 < getattr(parsed, name) <= 100_000:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 1 to 100000, found {getattr(parsed, name)}")
    if not 0 <= parsed.turn_warmup_s <= 600:
        raise LoadtestError(f"--turn-warmup-s: expected 0 to 600, found {parsed.turn_warmup_s}")


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected rates like 5,10,20, found {text!r}") from None
    if not all(math.isfinite(rate) and 0 < rate <= 10_000 for rate in rates):
        raise argparse.ArgumentTypeError(f"expected rates up to 10000, found {text!r}")
    return rates
