"""Times a request of n pairs through the graphs for CUDA: packed or padded, IO binding, CUDA graph, fp16 statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .cuda_runtime import Replayed, bound, open_cuda_session
from .runtime import Run, logits_of
from .timing import in_turn
from .workload import Workload

SIZES = (8, 16, 64, 256, 500)
BUCKET_STEP = 16
"""Tokens by which the lengths of CUDA graphs' buckets differ."""
WARM_UP = 10

PACKED, UNBOUND, FAST = "packed", "packed, no IO binding", "packed, statistics in fp16"
PADDED, REPLAYED = "padded", "padded, CUDA graph"

Runs = Mapping[str, Callable[[], Run]]
"""Name -> opens the session and returns its run."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One request of `pairs` pairs, from numpy to numpy: milliseconds, or why there are none."""

    pairs: int
    contestant: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    problem: str = ""

    @property
    def pairs_per_s(self) -> float | None:
        """At the median."""
        return None if self.p50_ms is None else 1e3 * self.pairs / self.p50_ms


def contestants(packed: bytes, padded: bytes | None, n: int, longest: int) -> Runs:
    """What is timed for requests of n pairs; the padded graph where there is one."""
    runs: dict[str, Callable[[], Run]] = {
        PACKED: lambda: bound(open_cuda_session(packed)),
        UNBOUND: lambda: logits_of(open_cuda_session(packed)),
        FAST: lambda: bound(open_cuda_session(packed, strict=False)),
    }
    if padded is not None:
        runs[PADDED] = lambda: bound(open_cuda_session(padded))
        length = bucket(int(Workload.of(n, 2, min(64, longest)).lengths.max()), longest)
        runs[REPLAYED] = lambda: Replayed(padded, n, length)
    return runs


def bucket(length: int, longest: int) -> int:
    """The length of the bucket that pairs of `length` tokens go to: a multiple of 16, or the longest there is."""
    return min(-(-length // BUCKET_STEP) * BUCKET_STEP, longest)


def time_all(runs: Runs, n: int, vocab_size: int, longest: int, rounds: int) -> list[Timing]:
    """Times one batch of n pairs of about 36 tokens through each, in turn; one that fails leaves the others be."""
    (feeds,) = Workload.of(n, vocab_size, min(64, longest)).batches(n)
    works: dict[str, Callable[[], object]] = {}
    failed: list[Timing] = []
    for name, start in runs.items():
        try:
            run = start()
            run(feeds)
            works[name] = partial(run, feeds)
        except Exception as error:  # the runtime's exceptions share no base class of their own
            failed.append(Timing(n, name, problem=str(error)))
    seconds = in_turn(works, rounds, WARM_UP)
    found = [Timing(n, name, *_percentiles(taken)) for name, taken in seconds.items()]
    return [*found, *failed]


def table(timings: Sequence[Timing]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| pairs | graph | p50 ms | p99 ms | pairs/s |", "|---:|---|---:|---:|---:|"]
    for each in timings:
        if each.p50_ms is None or each.p99_ms is None:
            lines.append(f"| {each.pairs} | {each.contestant} | failed | | |")
        else:
            figures = f"{each.p50_ms:.2f} | {each.p99_ms:.2f} | {each.pairs_per_s:,.0f}"
            lines.append(f"| {each.pairs} | {each.contestant} | {figures} |")
    problems = {each.contestant: each.problem for each in timings if each.problem}
    return [*lines, *([""] if problems else []), *(f"{name} failed: {problem}" for name, problem in problems.items())]


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return float(p50), float(p99)
