"""Area under the ROC curve, plain and under the weights of bootstrap draws."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score


def auc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN where a side is empty."""
    if not len(positive) or not len(negative):
        return float("nan")
    labels = np.repeat([True, False], [len(positive), len(negative)])
    return float(roc_auc_score(labels, np.concatenate([positive, negative])))


def weighted_auc(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> Callable[[NDArray[np.float64]], float]:
    """A function from row weights, shape (rows,), to the AUC under them.

    It sorts once, so that a draw costs O(rows): `roc_auc_score(labels, scores, sample_weight=weights)` sorts each time.
    """
    _, block = np.unique(scores, return_inverse=True)
    blocks = int(block.max()) + 1
    positive, negative = block[labels], block[~labels]

    def figure(weights: NDArray[np.float64]) -> float:
        above = np.bincount(positive, weights=weights[labels], minlength=blocks)
        below = np.bincount(negative, weights=weights[~labels], minlength=blocks)
        compared = above.sum() * below.sum()
        if compared == 0:
            return float("nan")
        return float((above * (np.cumsum(below) - below / 2)).sum() / compared)

    return figure
