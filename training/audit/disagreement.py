"""How far a service's scores are from its teacher's, counted request by request in bounded memory."""

import heapq
import math
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANKED_PRODUCTS = 1000
"""The order is compared for so many products of a request, evenly spaced: its cost grows with their square."""

TIE_DECIMALS = 6
CLEAR = 0.2
"""Two products are clearly apart for the teacher where its probabilities are by so much."""

SCORE_BINS = 1 << 16
"""Scores are told apart at one part in so many, for the AUC."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One request: the served logits and scores, and the teacher's logits, shape (products,) each."""

    served_logits: NDArray[np.float64]
    served_scores: NDArray[np.float64]
    teacher_logits: NDArray[np.float64]

    @property
    def teacher_scores(self) -> NDArray[np.float64]:
        """The teacher's probabilities of relevance."""
        return sigmoid(self.teacher_logits)


@dataclass(slots=True)
class Disagreement:
    """Of one model version, over the requests that were added.

    Attributes:
        relevant: from which probability on the teacher calls a product relevant.
    """

    relevant: float
    requests: int = 0
    pairs: int = 0
    ranked_requests: int = 0
    _difference: float = 0.0
    _served: float = 0.0
    _teacher: float = 0.0
    _tau: float = 0.0
    _tau_squared: float = 0.0
    _ordered: int = 0
    _inverted: float = 0.0
    _clear: int = 0
    _clearly_inverted: int = 0
    _positive: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    _negative: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))

    def add(self, audited: Audited) -> None:
        """Takes in a request."""
        teacher = audited.teacher_scores
        self.requests += 1
        self.pairs += len(teacher)
        self._difference += float(np.abs(audited.served_scores - teacher).sum())
        self._served += float(audited.served_scores.sum())
        self._teacher += float(teacher.sum())
        bins = np.minimum((audited.served_scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        is_relevant = teacher >= self.relevant
        self._positive += np.bincount(bins[is_relevant], minlength=SCORE_BINS)
        self._negative += np.bincount(bins[~is_relevant], minlength=SCORE_BINS)
        self._add_order(audited)

    def _add_order(self, audited: Audited) -> None:
        every = max(1, -(-len(audited.served_logits) // RANKED_PRODUCTS))
        served = np.round(audited.served_logits[::every], TIE_DECIMALS)
        logits = np.round(audited.teacher_logits[::every], TIE_DECIMALS)
        first, second = np.triu_indices(len(served), k=1)
        order = np.sign(served[first] - served[second])
        teacher_order = np.sign(logits[first] - logits[second])
        ordered = int(np.count_nonzero((order != 0) | (teacher_order != 0)))
        if not ordered:
            return
        inverted = float(ordered - (order * teacher_order).sum()) / 2
        tau = 1 - 2 * inverted / ordered
        self.ranked_requests += 1
        self._tau += tau
        self._tau_squared += tau * tau
        self._ordered += ordered
        self._inverted += inverted
        scores = sigmoid(audited.teacher_logits[::every])
        clear = np.abs(scores[first] - scores[second]) >= CLEAR
        self._clear += int(np.count_nonzero(clear))
        self._clearly_inverted += int(np.count_nonzero(clear & (order * teacher_order < 0)))

    def figures(self) -> dict[str, float | int | None]:
        """Everything that is reported; None where there is nothing to take a figure of."""
        tau = _ratio(self._tau, self.ranked_requests)
        return {
            "requests": self.requests,
            "pairs": self.pairs,
            "mean_absolute_difference": _ratio(self._difference, self.pairs),
            "mean_served_score": _ratio(self._served, self.pairs),
            "mean_teacher_score": _ratio(self._teacher, self.pairs),
            "ranked_requests": self.ranked_requests,
            "kendall_tau": tau,
            "kendall_tau_half_width": self._half_width(tau),
            "inversions": _ratio(self._inverted, self._ordered),
            "clear_inversions": _ratio(self._clearly_inverted, self._clear),
            "auc": self._auc(),
            "relevant_share": _ratio(int(self._positive.sum()), self.pairs),
        }

    def _half_width(self, tau: float | None) -> float | None:
        """Of the 95 % interval of the mean over requests, by the normal approximation."""
        n = self.ranked_requests
        if tau is None or n < 2:
            return None
        return 1.96 * math.sqrt(max(0.0, self._tau_squared / n - tau * tau) / (n - 1))

    def _auc(self) -> float | None:
        """Probability that a relevant product is served a higher score than another one; ties count half."""
        below = np.cumsum(self._negative) - self._negative / 2
        compared = float(self._positive.sum()) * float(self._negative.sum())
        return float((self._positive * below).sum()) / compared if compared else None


class WorstPairs:
    """Those whose served score is furthest from the teacher's, `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, dict[str, Any]]] = []
        self._number = count()

    def would_take(self, difference: float) -> bool:
        """Whether a pair this far off belongs to them so far."""
        return len(self._heap) < self._most or (self._most > 0 and difference > self._heap[0][0])

    def add(self, difference: float, pair: dict[str, Any]) -> None:
        """Takes a pair in, and lets the least bad one go."""
        push = heapq.heappush if len(self._heap) < self._most else heapq.heappushpop
        push(self._heap, (difference, -next(self._number), pair))

    def pairs(self) -> list[dict[str, Any]]:
        """The worst first, each with its difference."""
        return [{"difference": difference, **pair} for difference, _, pair in sorted(self._heap, reverse=True)]


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits, same shape, without overflow."""
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, e) / (1.0 + e)


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
