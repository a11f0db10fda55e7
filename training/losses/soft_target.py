"""The teacher's loss: binary cross-entropy against a soft target."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .pointwise import pointwise_loss


def soft_target_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -y log p - (1 - y) log (1 - p), with p = sigmoid(logit) and y in [0, 1].

    Args:
        logits: shape (pairs,).
        targets: soft targets of the human grades, same shape: the paper folds five grades into 1, 0.5 and 0.

    Returns:
        A scalar.

    Reference:
        arXiv 2505.07105, section on teacher training.

    Example:
        >>> import torch
        >>> soft_target_loss(torch.zeros(1), torch.tensor([0.5]))
        tensor(0.6931)
    """
    return binary_cross_entropy_with_logits(logits, targets)


def soft_target_list_loss(student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0) -> Tensor:
    """Mean over queries of the mean cross-entropy of sigmoid(s_i) against sigmoid(t_i) over a query's products.

    Trains a student on grades: a soft target of 1 or 0 is the logit plus or minus infinity.

    Args:
        student: logits s, shape (queries, products).
        teacher: logits t, same shape; infinite ones are allowed where `pointwise_weight` is 0.
        present: True where a product stands, False where a shorter list is padded; same shape.
        pointwise_weight: adds that times the mean squared error of logits.

    Requirements:
        Every query has at least one product.

    Returns:
        A scalar.

    Reference:
        arXiv 2505.07105, section on teacher training.

    Example:
        >>> import torch
        >>> s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[torch.inf, -torch.inf]])
        >>> soft_target_list_loss(s, t, torch.ones(1, 2, dtype=torch.bool))
        tensor(0.6931)
    """
    s, t = student.masked_fill(~present, 0.0), teacher.masked_fill(~present, 0.0)
    entropy = binary_cross_entropy_with_logits(s, t.sigmoid().to(s.dtype), reduction="none")
    loss = (entropy.masked_fill(~present, 0.0).sum(dim=1) / present.sum(dim=1)).mean()
    return loss + pointwise_weight * pointwise_loss(s, t, present) if pointwise_weight else loss
