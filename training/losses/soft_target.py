"""The teacher's loss: binary cross-entropy against a soft target."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


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
