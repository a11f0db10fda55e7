"""Settings of the training loop."""

from typing import Literal

from pydantic import Field

from .settings import Settings

Precision = Literal["auto", "bf16", "fp32"]


class Optimisation(Settings):
    """AdamW with linear warm-up and linear decay."""

    learning_rate: float = Field(gt=0)
    epochs: float = Field(gt=0)
    batch_pairs: int = Field(ge=1)
    warmup_share: float = Field(default=0.06, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    checkpoint_every_s: float = Field(default=120, gt=0)
    precision: Precision = "auto"
