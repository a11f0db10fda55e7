"""Cuts one request, or a part of it, into micro-batches: pairs of like length together, each within a token budget."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Pairs that go through the model together.

    Attributes:
        indices: positions among those given, longest pair first.
        longest: tokens of the longest pair, to which all are padded.
        tokens: tokens of all its pairs, without padding.
    """

    indices: tuple[int, ...]
    longest: int
    tokens: int

    @property
    def padded_tokens(self) -> int:
        """Tokens that the model computes, padding included."""
        return self.longest * len(self.indices)


def plan(lengths: Sequence[int], budget_tokens: int, *, lanes: int = 1) -> list[MicroBatch]:
    """Cuts pairs into micro-batches in the order in which they should run.

    Args:
        lengths: tokens of each pair of the request, or of a part of it, each at least 1.
        budget_tokens: most padded tokens of a micro-batch. A pair longer than this goes alone.
        lanes: how many micro-batches run side by side. The work is cut evenly into a multiple of it, longest first,
            so that the lanes end together.

    Returns:
        Micro-batches that hold every pair exactly once.
    """
    if not lengths:
        return []
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    total = sum(lengths)
    rounds = -(-total // (budget_tokens * lanes))
    even = -(-total // (rounds * lanes))
    batches: list[MicroBatch] = []
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        # The even share is met by rounding to the nearest number of pairs, the budget by rounding down.
        pairs = max(1, min(round(even / longest), budget_tokens // longest))
        indices = tuple(order[start : start + pairs])
        batches.append(MicroBatch(indices, longest, sum(lengths[i] for i in indices)))
        start += pairs
    return batches


def plan_fewest(
    lengths: Sequence[int], budget_tokens: int, *, lanes: int = 1, least_tokens: int = 0
) -> list[MicroBatch]:
    """The same in as few micro-batches as lanes and budget allow, of padded tokens as even as can be.

    For models of which every run costs something whatever its size.

    Args:
        lengths: as of `plan`.
        budget_tokens: as of `plan`.
        lanes: as of `plan`; fewer are used where there is little to do.
        least_tokens: a request is not cut into micro-batches of fewer tokens than this.
    """
    if not lengths:
        return []
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    longest_first = [lengths[i] for i in order]
    total = sum(lengths)
    wanted = min(-(-total // (budget_tokens * lanes)) * lanes, max(1, total // max(1, least_tokens)), len(lengths))
    while len(_cut(longest_first, budget_tokens)) > wanted and wanted < len(lengths):
        wanted += lanes
    low, high = min(-(-total // wanted), budget_tokens), budget_tokens
    while low < high:
        share = (low + high) // 2
        if len(_cut(longest_first, share)) <= wanted:
            high = share
        else:
            low = share + 1
    return [
        MicroBatch(tuple(order[start:stop]), longest_first[start], sum(longest_first[start:stop]))
        for start, stop in _cut(longest_first, high)
    ]


def _cut(longest_first: Sequence[int], share_tokens: int) -> list[tuple[int, int]]:
    """Where micro-batches of at most so many padded tokens begin and end."""
    cuts, start = [], 0
    while start < len(longest_first):
        stop = min(start + max(1, share_tokens // longest_first[start]), len(longest_first))
        cuts.append((start, stop))
        start = stop
    return cuts


def plan_in_order(lengths: Sequence[int], budget_tokens: int) -> list[MicroBatch]:
    """The same for work whose first parts are wanted first: neighbours go together, whatever their lengths.

    Args:
        lengths: tokens of each, at least 1.
        budget_tokens: most padded tokens of a micro-batch. What is longer than this goes alone.
    """
    batches: list[MicroBatch] = []
    start = longest = 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and longest * (i + 1 - start) > budget_tokens:
            batches.append(_neighbours(lengths, start, i))
            start, longest = i, length
    return [*batches, _neighbours(lengths, start, len(lengths))] if lengths else []


def _neighbours(lengths: Sequence[int], start: int, stop: int) -> MicroBatch:
    indices = tuple(sorted(range(start, stop), key=lengths.__getitem__, reverse=True))
    return MicroBatch(indices, lengths[indices[0]], sum(lengths[start:stop]))
