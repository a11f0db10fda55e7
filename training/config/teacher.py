"""Settings of the teacher."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from artifact import InputTemplate

from .optimisation import Optimisation
from .settings import Settings


class Lora(Settings):
    """Low-rank adapters (Hu et al., ICLR 2022) in place of training every weight; the head is trained whole."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0, description="adapters are scaled by alpha / rank")
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] = Field(
        default=(), description="names of the linear layers that get adapters, such as q_proj; none: all but the head"
    )


class Dev(Settings):
    """Training queries kept apart to choose the epoch and the temperature."""

    share: float = Field(default=0.15, ge=0, lt=1, description="share of the queries; 0: keep the last weights, no dev")
    max_pairs: int | None = Field(default=5000, ge=1, description="no more than so many pairs; null: no limit")
    every_epochs: float = Field(default=0.5, gt=0, description="how often the dev loss is measured")
    patience: int | None = Field(
        default=4, ge=1, description="stop after so many measurements in a row without a gain; null: never"
    )


class Teacher(Settings):
    """A sequence classifier, by default with a similarity shortcut, fine-tuned on soft targets."""

    model: str = Field(description="Hugging Face id, folder, or all-MiniLM-L6-v2 (from the installed package)")
    template: InputTemplate
    fit: Optimisation
    head: Literal["probability", "grades"] = Field(
        default="probability",
        description="one logit with binary cross-entropy, or an output per level with cross-entropy and expected gain",
    )
    levels: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.0, 0.5, 1.0), description="head `grades`: the soft target of each grade, rising from 0 to 1"
    )
    shortcut: bool = Field(default=True, description="add a linear layer over cosine and MaxSim of `encoder`")
    lora: Lora | None = None
    gradient_checkpointing: bool = Field(default=False, description="less memory for a third more time")
    prompt: str = Field(
        default="Query: {query}\nProduct: {product}", description="what a decoder LLM reads; ends with {product}"
    )
    dev: Dev = Dev()
    refit: bool = Field(default=False, description="train again, dev queries included, for the number of steps chosen")

    @property
    def summary(self) -> str:
        """The teacher in a few words, for a model's lineage."""
        parts = [self.model]
        if self.lora is not None:
            parts.append(f"with LoRA of rank {self.lora.rank}")
        if self.shortcut:
            parts.append("plus cosine and MaxSim")
        head = "one logit" if self.head == "probability" else f"{len(self.levels)} grades"
        return f"{' '.join(parts)}, fine-tuned on soft targets with a head of {head}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        rising = all(low < high for low, high in pairwise(self.levels))
        if not rising or self.levels[:1] != (0.0,) or self.levels[-1:] != (1.0,):
            raise ValueError(f"levels {list(self.levels)}: expected numbers that rise from 0 to 1")
        if (
            self.prompt.count("{query}") != 1
            or self.prompt.count("{product}") != 1
            or not self.prompt.endswith("{product}")
        ):
            raise ValueError("prompt: expected {query} once, and {product} once, at the end: what is too long is cut")
        if self.refit and not self.dev.share:
            raise ValueError("refit needs dev.share above 0: the dev queries choose the number of steps")
        return self
