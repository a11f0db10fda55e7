"""The losses that a configuration can name for the student."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from .listwise import listwise_loss
from .margin import margin_loss
from .pointwise import pointwise_loss
from .ranknet import ranknet_loss
from .soft_target import soft_target_list_loss


class ListLoss(Protocol):
    """A loss over the lists of a batch."""

    def __call__(self, student: Tensor, teacher: Tensor, present: Tensor, pointwise_weight: float = 0.0) -> Tensor:
        """A scalar from padded logits of shape (queries, products) and where products stand, plus
        `pointwise_weight` times the mean squared error of single scores."""


LOSSES: Mapping[str, ListLoss] = MappingProxyType(
    {
        "margin": margin_loss,
        "margin-probability": partial(margin_loss, probabilities=True),
        "pointwise": pointwise_loss,
        "ranknet": ranknet_loss,
        "listwise": listwise_loss,
        "soft-target": soft_target_list_loss,
    }
)
"""Name -> loss."""
