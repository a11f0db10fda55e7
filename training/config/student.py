"""Settings of the student."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from artifact import InputTemplate

from .optimisation import Optimisation
from .settings import Settings

INIT_FROM_TEACHER = "teacher"
"""As `init`: the run's own teacher."""
Labels = Literal["similarity", "teacher", "human"]
Loss = Literal["margin", "margin-probability", "pointwise", "ranknet", "listwise", "soft-target"]


class StudentStage(Settings):
    """One pass of the student over labelled lists."""

    labels: Labels = Field(description="who labelled: the untrained similarity, the teacher, or human judges")
    loss: Loss = Field(default="margin", description="human labels want soft-target; the others read logits")
    fit: Optimisation
    skip_lists: int = Field(default=0, ge=0, description="so many lists at the beginning are left to other stages")
    max_lists: int | None = Field(default=None, ge=1, description="so many lists from there on; null: all that follow")
    list_size: int | None = Field(
        default=None, ge=2, description="products of a list per step, spread over the quantiles of their labels"
    )

    @model_validator(mode="after")
    def _loss_fits_labels(self) -> Self:
        if (self.labels == "human") != (self.loss == "soft-target"):
            raise ValueError(
                f"labels {self.labels} and loss {self.loss}: human labels, and they alone, take soft-target"
            )
        return self


class StudentDev(Settings):
    """The last lists of each stage, kept apart to choose the weights by their loss and to stop early."""

    lists: int = Field(default=0, ge=0, description="how many, at most a fifth of all; 0: keep the last weights")
    every_epochs: float = Field(default=0.25, gt=0, description="how often their loss is measured")
    patience: int | None = Field(
        default=4, ge=1, description="stop after so many measurements in a row without a gain; null: never"
    )


Shortcut = Literal["cosine", "maxsim"]


class SplitShape(Settings):
    """What is online of a split student: see `training/split`."""

    interaction_layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(4, 5), description="the layers of `init` that the interaction starts from; none: the shortcuts alone"
    )
    state_width: int | None = Field(
        default=None, ge=1, description="numbers kept of each product token; null: as wide as the encoder's states"
    )
    shortcuts: tuple[Shortcut, ...] = Field(
        default=get_args(Shortcut), description="what is added to the interaction's output, each with a weight"
    )


class Split(SplitShape):
    """How a split student is made."""

    query_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="the layers of `init` that an encoder of queries alone keeps; null: products' is theirs",
    )
    shorten: Optimisation | None = Field(
        default=None,
        description="teaches an encoder that keeps some layers of `init` alone the states of all of them",
    )
    train_encoders: bool = Field(
        default=False, description="train both encoders too; else their states are computed once, and training is fast"
    )

    def shape(self) -> SplitShape:
        """What the checkpoint says of itself."""
        return SplitShape.model_validate(self.model_dump(include=set(SplitShape.model_fields)))


class Student(Settings):
    """A small model that learns margins from labelled lists."""

    init: str = Field(
        description="Hugging Face id, folder, all-MiniLM-L6-v2, or `teacher`: the run's own, where it is a BERT encoder"
    )
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        min_length=1,
        description="the layers of `init` that the student keeps; a split one, in its encoder of products",
    )
    split: Split | None = Field(default=None, description="makes it a split student; without it, a cross-encoder")
    template: InputTemplate
    pointwise_weight: float = Field(
        default=0.1,
        ge=0,
        description="weight of the anchor on the label's own logit, which keeps one scale for all queries",
    )
    dev: StudentDev = StudentDev()
    stages: tuple[StudentStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _split_starts_from_an_encoder(self) -> Self:
        if self.split is not None and self.init == INIT_FROM_TEACHER:
            raise ValueError("a split student starts from a sentence encoder, not from its teacher")
        return self

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers {list(self.layers)}: each may be kept once")
        return self
