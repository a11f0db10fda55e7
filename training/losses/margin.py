"""The student's loss: mean squared error of the margins between the products of a query."""

from torch import Tensor

from .pointwise import pointwise_loss


def margin_loss(
    student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0, *, probabilities: bool = False
) -> Tensor:
    """Mean over queries of the mean of ((s_i - s_j) - (t_i - t_j))^2 over all ordered pairs i != j.

    With e = s - t this is twice the sample variance of e, 2 (n sum e^2 - (sum e)^2) / (n (n - 1)), computed here on
    e less its mean for the sake of precision: O(n), no pair is enumerated. The loss ignores a constant per query, so
    that alone it leaves scores that cannot be compared across queries; `pointwise_weight` adds that times mean e^2.

    Args:
        student: logits s, shape (queries, products).
        teacher: logits t, same shape.
        present: True where a product stands, False where a shorter list is padded; same shape.
        pointwise_weight: weight of the pointwise term, 0 for the paper's loss.
        probabilities: compares sigmoid(s) with sigmoid(t), in the pointwise term too: a margin between two products
            that are both surely relevant, or both surely not, then counts little.

    Requirements:
        Every query has at least one product; a single one has no margin and leaves the pointwise term alone.

    Returns:
        A scalar.

    Reference:
        arXiv 2505.07105, section on student training.

    Example:
        >>> import torch
        >>> s, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
        >>> margin_loss(s, t, torch.ones(1, 2, dtype=torch.bool))
        tensor(4.)
    """
    s, t = student.masked_fill(~present, 0.0), teacher.masked_fill(~present, 0.0)
    error = s.sigmoid() - t.sigmoid() if probabilities else s - t
    count = present.sum(dim=1)
    mean = error.sum(dim=1) / count  # padding is 0 on both sides
    centred = (error - mean[:, None]).masked_fill(~present, 0.0)
    margins = (2.0 * centred.square().sum(dim=1) / (count - 1).clamp(min=1)).mean()
    if pointwise_weight:
        margins = margins + pointwise_weight * pointwise_loss(s, t, present, probabilities=probabilities)
    return margins
