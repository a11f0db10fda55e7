"""The losses, one per file."""

from .listwise import listwise_loss
from .margin import margin_loss
from .pointwise import pointwise_loss
from .ranknet import ranknet_loss
from .registry import LOSSES, ListLoss
from .soft_target import soft_target_list_loss, soft_target_loss

__all__ = [
    "LOSSES",
    "ListLoss",
    "listwise_loss",
    "margin_loss",
    "pointwise_loss",
    "ranknet_loss",
    "soft_target_list_loss",
    "soft_target_loss",
]
