"""How long micro-batches take on one thread, as a table; and two models in turn on the same pairs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from artifact import PairTokenizer

from ..golden import LONG_QUERY, LONG_TITLE
from ..runtime import Feeds, Run
from ..timing import in_turn
from .checks import Finding

BATCHES = (1, 4, 8, 16)
LENGTHS = (16, 32, 64)
QUERY_TOKENS = 5
ROUNDS = (5, 100)
"""Fewest and most."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Milliseconds of one micro-batch: median and 95th percentile over rounds."""

    variant: str
    pairs: int
    tokens: int
    median_ms: float
    p95_ms: float


def time_micro_batches(runs: Mapping[str, Run], tokenizer: PairTokenizer, budget_s: float) -> tuple[list[Cell], int]:
    """Times every variant at each of `BATCHES` and `LENGTHS` that the template allows, all in turn.

    Args:
        budget_s: about how long the whole may take; at least `ROUNDS[0]` rounds are made.

    Returns:
        The cells, variants and then lengths in order, and the number of rounds.
    """
    longest = tokenizer.template.max_tokens
    lengths = sorted({min(length, longest) for length in LENGTHS})
    work: dict[str, Callable[[], object]] = {}
    what: dict[str, tuple[str, int, int]] = {}
    for variant, run in runs.items():
        for tokens in lengths:
            for pairs in BATCHES:
                key = f"{variant} {pairs} x {tokens}"
                what[key] = (variant, pairs, tokens)
                work[key] = partial(run, feeds_of(tokenizer, pairs, tokens))
    start = time.perf_counter()
    in_turn(work, rounds=1, warm_up=1)
    round_s = (time.perf_counter() - start) / 2
    rounds = int(np.clip(budget_s / round_s, *ROUNDS))
    seconds = in_turn(work, rounds, warm_up=0)
    cells = [
        Cell(*what[key], 1e3 * float(np.median(taken)), 1e3 * float(np.percentile(taken, 95)))
        for key, taken in seconds.items()
    ]
    return cells, rounds


def feeds_of(tokenizer: PairTokenizer, pairs: int, tokens: int) -> Feeds:
    """Model inputs of equal pairs of exactly `tokens` tokens, special ones included."""
    special = tokenizer.template.pair_format.special_tokens
    query = tokenizer.encode_query(LONG_QUERY)[: min(QUERY_TOKENS, tokens - special - 1)]
    product = np.resize(tokenizer.encode_products([{"title": LONG_TITLE, "description": LONG_TITLE}])[0], tokens)
    return tokenizer.collate([(query, product[: tokens - special - len(query)])] * pairs).feeds()


def latency_finding(cells: Sequence[Cell], rounds: int) -> Finding:
    """The cells of one variant, as a table of lengths by batches: median / 95th percentile."""
    batches = sorted({cell.pairs for cell in cells})
    by_place = {(cell.tokens, cell.pairs): cell for cell in cells}
    table = [
        "",
        "| ms on one thread, median / p95 | "
        + " | ".join("1 pair" if n == 1 else f"{n} pairs" for n in batches)
        + " |",
    ]
    table.append("|---" * (len(batches) + 1) + "|")
    for tokens in sorted({cell.tokens for cell in cells}):
        row = (by_place[tokens, pairs] for pairs in batches)
        table.append(f"| {tokens} tokens | " + " | ".join(f"{c.median_ms:.2f} / {c.p95_ms:.2f}" for c in row) + " |")
    table.append("")
    figures = [
        {"pairs": cell.pairs, "tokens": cell.tokens, "median_ms": cell.median_ms, "p95_ms": cell.p95_ms}
        for cell in cells
    ]
    return Finding(f"{rounds} rounds", {"rounds": rounds, "latency": figures}, table)
