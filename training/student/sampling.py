"""Which candidates of a long list the student trains on: evenly spread over the teacher's score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sample_by_quantiles(logits: NDArray[np.floating[Any]], size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Picks candidates evenly over the quantiles of their logits.

    The list in order of its logits, ties in random order, is cut into `size` bins of equal count, give or take one;
    one candidate of each is drawn. Easy, middling and hard candidates so keep the shares that they have in the list:
    sampling only the hard ones can collapse a loss over margins.

    Args:
        logits: the teacher's, finite, shape (candidates,).
        size: how many candidates to pick, at least 1.
        random: draws; the same state gives the same picks.

    Returns:
        Indices in ascending order, shape (min(size, candidates),), none twice; the whole list, without a draw, if it
        is not longer than `size`.

    Raises:
        ValueError: `size` is below 1.

    Reference:
        arXiv 2604.04734.

    Example:
        >>> logits = np.array([5.0, -5.0, 4.0, -4.0])
        >>> picked = sample_by_quantiles(logits, 2, np.random.default_rng(0))
        >>> np.sign(np.sort(logits[picked]))
        array([-1.,  1.])
    """
    if size < 1:
        raise ValueError(f"expected to sample at least 1 candidate, got {size}")
    count = len(logits)
    if count <= size:
        return np.arange(count)
    order = np.lexsort((random.random(count), logits))
    edges = np.arange(size + 1) * count // size
    return np.sort(order[random.integers(edges[:-1], edges[1:])])
