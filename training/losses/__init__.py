"""The losses, one per file."""

from .margin import margin_loss
from .soft_target import soft_target_loss

__all__ = ["margin_loss", "soft_target_loss"]
