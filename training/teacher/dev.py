"""The dev split: training queries kept apart, by the hash of the query, to choose the epoch and the temperature."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from ..data import JudgedPair, normalise_query
from ..errors import TrainingError


def split_dev(pairs: Sequence[JudgedPair], share: float, max_pairs: int | None = None) -> tuple[list[int], list[int]]:
    """Rows to train on and dev rows, the same every time and for any order of the pairs.

    The share of queries with the lowest hash is dev, as far as `max_pairs` allow, at least one; spellings of one query
    stay together.

    Args:
        pairs: judged pairs of the training split.
        share: of the queries; 0 gives no dev rows.
        max_pairs: how many dev rows there may be, the first query's aside.

    Raises:
        TrainingError: there is one query alone.
    """
    if not share:
        return list(range(len(pairs))), []
    hashes = {query: _hash(query) for query in {pair.query for pair in pairs}}
    sizes = Counter(hashes[pair.query] for pair in pairs)
    if len(sizes) < 2:
        raise TrainingError(
            f"the training split has one query, {pairs[0].query!r}, and none to spare for dev: "
            "give more judgements, or set teacher.dev.share = 0"
        )
    wanted = sorted(sizes)[: min(max(1, round(share * len(sizes))), len(sizes) - 1)]
    totals = accumulate(sizes[digest] for digest in wanted)
    picked = {digest for digest, total in zip(wanted, totals, strict=True) if max_pairs is None or total <= max_pairs}
    picked.add(wanted[0])
    dev = [i for i, pair in enumerate(pairs) if hashes[pair.query] in picked]
    train = [i for i, pair in enumerate(pairs) if hashes[pair.query] not in picked]
    return train, dev


def _hash(query: str) -> bytes:
    # salted, for the test split is made of the lowest hashes of the plain query
    return hashlib.sha256(f"dev {normalise_query(query)}".encode()).digest()
