"""A loss to compare with: mean squared error of single scores, and the anchor that the losses over pairs may add."""

from torch import Tensor


def pointwise_loss(
    student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0, *, probabilities: bool = False
) -> Tensor:
    """Mean over queries of the mean of (s_i - t_i)^2 over a query's products, times 1 + `pointwise_weight`.

    Unlike the losses over pairs it keeps one scale across queries, and spends the student's capacity on it.

    Args:
        student: logits s, shape (queries, products).
        teacher: logits t, same shape.
        present: True where a product stands, False where a shorter list is padded; same shape.
        pointwise_weight: weight of the anchor that every loss here may add; this one is that anchor.
        probabilities: compares sigmoid(s) with sigmoid(t).

    Requirements:
        Every query has at least one product.

    Returns:
        A scalar.

    Reference:
        Pointwise distillation, compared with margins in arXiv 2505.07105 and arXiv 2603.03010.

    Example:
        >>> import torch
        >>> s, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
        >>> pointwise_loss(s, t, torch.ones(1, 2, dtype=torch.bool))
        tensor(2.)
    """
    s, t = student.masked_fill(~present, 0.0), teacher.masked_fill(~present, 0.0)
    error = s.sigmoid() - t.sigmoid() if probabilities else s - t
    return (1.0 + pointwise_weight) * (error.square().sum(dim=1) / present.sum(dim=1)).mean()
