"""The judged pairs of one source and split as arrays, which every metric reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import Data, Judgements
from ..data import JudgedPair
from .groups import Groups, group


@dataclass(frozen=True, slots=True, eq=False)
class JudgedSource:
    """One source's pairs.

    Attributes:
        settings: the source as configured: its gains and AUC pairs.
        split: the split that the pairs are of.
        rows: where the pairs stand among all pairs of the split, shape (pairs,).
        queries: the query of each pair.
        grades: shape (pairs,), of text.
        targets: soft targets, shape (pairs,).
        gains: shape (pairs,); None where the source names no gains.
    """

    settings: Judgements
    split: str
    rows: NDArray[np.int64]
    queries: Groups
    grades: NDArray[np.str_]
    targets: NDArray[np.float64]
    gains: NDArray[np.float64] | None

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self.settings.name

    def relevant_from(self, target: float | None) -> float:
        """The soft target from which a pair is relevant: `target`, or the highest of the source's scale."""
        if target is not None:
            return target
        return max(self.settings.targets.values(), default=float(self.targets.max()))


def sources_of(pairs: Sequence[JudgedPair], data: Data, split: str) -> list[JudgedSource]:
    """The sources that have pairs in a list of pairs of one split, in the order of the configuration."""
    found: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        found.setdefault(pair.source, []).append(i)
    return [_source(pairs, found[s.name], s, split) for s in data.judgements if s.name in found]


def gain_mapping(gains: Mapping[str, float]) -> str:
    """A gain mapping in words, to be shown with every nDCG."""
    return "gains " + ", ".join(f"{grade} → {gain:g}" for grade, gain in gains.items())


def _source(pairs: Sequence[JudgedPair], rows: list[int], settings: Judgements, split: str) -> JudgedSource:
    grades = np.asarray([pairs[i].grade for i in rows])
    gains = None
    if settings.ndcg_gains is not None:
        gains = np.asarray([settings.ndcg_gains[pairs[i].grade] for i in rows], dtype=np.float64)
    return JudgedSource(
        settings,
        split,
        np.asarray(rows, dtype=np.int64),
        group([pairs[i].query for i in rows]),
        grades,
        np.asarray([pairs[i].target for i in rows], dtype=np.float64),
        gains,
    )
