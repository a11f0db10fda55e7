"""Whether int8 ranks as fp32 does: Kendall's tau per query, and nDCG by the teacher's labels, over whole lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from artifact import PairTokenizer
from training.evaluation.metrics import ndcg

from .runtime import EncodedPairs, Pair, Run, Scored

MIN_TAU = 0.98
MAX_NDCG_LOSS = 0.002
MIN_PAIRS = 2000
DEPTH = 10


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How the logits of one graph rank lists beside another's.

    Attributes:
        tau: mean over queries of Kendall's tau-b.
        ndcg_loss: mean nDCG@10 of the other minus this one's, by the labels as gains; NaN without labels.
        rms: root mean square difference of the logits.
    """

    tau: float
    ndcg_loss: float
    rms: float
    pairs: int
    queries: int

    @property
    def suffices(self) -> bool:
        """Whether it may be served for the other."""
        return self.tau >= MIN_TAU and not self.ndcg_loss > MAX_NDCG_LOSS

    def __str__(self) -> str:
        loss = "" if np.isnan(self.ndcg_loss) else f", nDCG@{DEPTH} by the teacher's labels {-self.ndcg_loss:+.4f}"
        return f"Kendall tau {self.tau:.4f}{loss}, RMS difference {self.rms:.4f}, {self.pairs} pairs"


Labelled = Sequence[tuple[Sequence[Pair], Sequence[float]]]
"""Of each query its pairs and their labels; labels in 0 to 1, or none for all."""

Model = TypeVar("Model")


class Lists(Generic[Model]):
    """Whole candidate lists.

    Args:
        pairs: of all lists, one after another, tokenised.
        lists: the same as texts, with labels.
    """

    def __init__(self, pairs: Scored[Model], lists: Labelled) -> None:
        self.pairs = pairs
        ends = np.cumsum([0, *(len(pairs) for pairs, _ in lists)])
        self._slices = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        self._gains = [np.asarray(labels, np.float64) for _, labels in lists]

    def compare(self, expected: NDArray[np.floating], found: NDArray[np.floating]) -> Faithfulness:
        """Logits of the same pairs in order, shape (pairs,)."""
        taus, losses = [], []
        for rows, gains in zip(self._slices, self._gains, strict=True):
            if rows.stop - rows.start > 1:
                taus.append(stats.kendalltau(found[rows], expected[rows]).statistic)
            if len(gains):
                losses.append(ndcg(expected[rows], gains, DEPTH) - ndcg(found[rows], gains, DEPTH))
        rms = float(np.sqrt(np.mean((found - expected) ** 2)))
        return Faithfulness(_mean(taus), _mean(losses), rms, len(self.pairs), len(self._slices))


def encoded_lists(tokenizer: PairTokenizer, lists: Labelled) -> Lists[Run]:
    """Lists for a cross-encoder."""
    return Lists(EncodedPairs(tokenizer, pairs_of(lists)), lists)


def pairs_of(lists: Labelled) -> list[Pair]:
    """The pairs of all lists, one after another."""
    return [pair for pairs, _ in lists for pair in pairs]


def _mean(values: list[float]) -> float:
    """Of those that are defined; NaN where none is."""
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
