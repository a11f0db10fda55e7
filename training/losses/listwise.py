"""A loss to compare with: the divergence between two distributions over the products of a query."""

from torch import Tensor

from .pointwise import pointwise_loss


def listwise_loss(
    student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0, *, temperature: float = 1.0
) -> Tensor:
    """Mean over queries of KL(p || q) = sum_i p_i log(p_i / q_i), p = softmax(t / T), q = softmax(s / T).

    A low temperature T looks at the top of the list alone. There is no factor T^2: gradients shrink as T grows. The
    loss ignores a constant per query; `pointwise_weight` adds that times the mean squared error of logits.

    Args:
        student: logits s, shape (queries, products).
        teacher: logits t, same shape.
        present: True where a product stands, False where a shorter list is padded; same shape.
        pointwise_weight: weight of the pointwise term.
        temperature: T, above 0, of both distributions.

    Requirements:
        Every query has at least one product; a single one leaves the pointwise term alone.

    Returns:
        A scalar.

    Reference:
        ListNet's top-one probabilities: Cao et al., Learning to rank: from pairwise approach to listwise approach,
        ICML 2007. The temperature: Hinton et al., arXiv 1503.02531.

    Example:
        >>> import torch
        >>> s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[torch.log(torch.tensor(3.0)), 0.0]])
        >>> listwise_loss(s, t, torch.ones(1, 2, dtype=torch.bool))  # 3/4 log 3/2 + 1/4 log 1/2
        tensor(0.1308)
    """
    lowest = float("-inf")
    log_p = (teacher / temperature).masked_fill(~present, lowest).log_softmax(dim=1)
    log_q = (student / temperature).masked_fill(~present, lowest).log_softmax(dim=1)
    loss = (log_p.exp() * (log_p - log_q).masked_fill(~present, 0.0)).sum(dim=1).mean()
    return loss + pointwise_weight * pointwise_loss(student, teacher, present) if pointwise_weight else loss
