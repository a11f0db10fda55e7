"""A loss to compare with: the logistic loss of the order of every pair of products of a query."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .pointwise import pointwise_loss


def ranknet_loss(
    student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0, *, hard: bool = False
) -> Tensor:
    """Mean over queries of the mean cross-entropy of sigmoid(s_i - s_j) against P_ij over all ordered pairs i != j.

    P_ij is the teacher's probability that i is preferred to j, sigmoid(t_i - t_j): least where the student's margins
    are the teacher's. With `hard` it is the teacher's order alone: 1, 0, or 1/2 in a tie. O(n^2) in a list's length.
    The loss ignores a constant per query; `pointwise_weight` adds that times the mean squared error of logits.

    Args:
        student: logits s, shape (queries, products).
        teacher: logits t, same shape.
        present: True where a product stands, False where a shorter list is padded; same shape.
        pointwise_weight: weight of the pointwise term.
        hard: targets from the teacher's order instead of its margins.

    Requirements:
        Every query has at least one product; a single one has no pair and leaves the pointwise term alone.

    Returns:
        A scalar.

    Reference:
        Burges et al., Learning to rank using gradient descent, ICML 2005.

    Example:
        >>> import torch
        >>> s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 0.0]])
        >>> ranknet_loss(s, t, torch.ones(1, 2, dtype=torch.bool))
        tensor(0.6931)
    """
    s, t = student.masked_fill(~present, 0.0), teacher.masked_fill(~present, 0.0)
    gap = t[:, :, None] - t[:, None, :]
    preferred = (1.0 + gap.sign()) / 2 if hard else gap.sigmoid()
    entropy = binary_cross_entropy_with_logits(s[:, :, None] - s[:, None, :], preferred.to(s.dtype), reduction="none")
    others = ~torch.eye(s.shape[1], dtype=torch.bool, device=s.device)
    pairs = present[:, :, None] & present[:, None, :] & others
    count = pairs.sum(dim=(1, 2)).clamp(min=1)
    loss = (entropy.masked_fill(~pairs, 0.0).sum(dim=(1, 2)) / count).mean()
    return loss + pointwise_weight * pointwise_loss(s, t, present) if pointwise_weight else loss
