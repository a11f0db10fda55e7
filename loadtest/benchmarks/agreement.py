"""Do two servers rank alike? A check that they serve the same weights, not a measure of quality."""

import statistics
from collections.abc import Sequence


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Rank correlation, ties given their average rank; None where one side has a single rank."""
    ranks = _ranks(left), _ranks(right)
    if len(set(ranks[0])) < 2 or len(set(ranks[1])) < 2:
        return None
    return statistics.correlation(*ranks)


def mean_spearman(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> float | None:
    """Mean over requests; None where no request has one."""
    found = [value for pair in zip(left, right, strict=True) if (value := spearman(*pair)) is not None]
    return statistics.fmean(found) if found else None


def same_top(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> float | None:
    """Share of requests with the same best product."""
    found = [_top(one) == _top(other) for one, other in zip(left, right, strict=True)]
    return statistics.fmean(found) if found else None


def _top(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda index: scores[index])


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda index: values[index])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for position in range(start, end + 1):
            ranks[order[position]] = (start + end) / 2
        start = end + 1
    return ranks
