"""The loss of a teacher with one output per grade, and what such outputs say about relevance."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

MAX_LOGIT = 15.0


def soft_grades_loss(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:
    """Mean of -sum_k q_k log softmax(outputs)_k, with q the target's share of each grade.

    Args:
        outputs: one per grade, shape (pairs, grades).
        targets: soft targets in [0, 1], shape (pairs,).
        levels: the soft target that each grade stands for, rising from 0 to 1.

    Returns:
        A scalar.

    Reference:
        Cross-entropy on soft labels: Szegedy et al., CVPR 2016, section 7. arXiv 2505.07105 trains its teacher to
        classify grades.

    Example:
        >>> soft_grades_loss(torch.zeros(1, 2), torch.tensor([0.5]), (0.0, 1.0))
        tensor(0.6931)
    """
    return cross_entropy(outputs, grade_shares(targets, levels))


def grade_shares(targets: Tensor, levels: Sequence[float]) -> Tensor:
    """The share of each grade in a target, shape (pairs, grades): a target between two levels spreads linearly.

    Example:
        >>> grade_shares(torch.tensor([0.25]), (0.0, 0.5, 1.0))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    steps = torch.tensor(levels, dtype=targets.dtype, device=targets.device)
    above = torch.searchsorted(steps, targets.contiguous()).clamp(1, len(levels) - 1)
    low, high = steps[above - 1], steps[above]
    upper = ((targets - low) / (high - low)).clamp(0, 1)
    shares = torch.zeros(len(targets), len(levels), dtype=targets.dtype, device=targets.device)
    shares.scatter_(1, above[:, None], upper[:, None])
    return shares.scatter_(1, above[:, None] - 1, 1 - upper[:, None])


def expected_gain(outputs: Tensor, levels: Sequence[float]) -> Tensor:
    """The expected soft target sum_k softmax(outputs)_k level_k, in [0, 1], shape (pairs,)."""
    return torch.sigmoid(gain_logit(outputs, levels))


def gain_logit(outputs: Tensor, levels: Sequence[float]) -> Tensor:
    """log p / (1 - p) of the expected gain p, within +-MAX_LOGIT, shape (pairs,).

    p / (1 - p) = sum_k e^o_k level_k / sum_k e^o_k (1 - level_k), taken in logarithms: exact where p rounds to 0 or 1.
    """
    steps = torch.tensor(levels, dtype=outputs.dtype, device=outputs.device)
    logit = torch.logsumexp(outputs + steps.log(), 1) - torch.logsumexp(outputs + (1 - steps).log(), 1)
    return logit.clamp(-MAX_LOGIT, MAX_LOGIT)
