"""Settings of the student."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from artifact import InputTemplate

from .optimisation import Optimisation
from .settings import Settings


class StudentStage(Settings):
    """One pass of the student over labelled lists."""

    labels: Literal["similarity", "teacher"]
    fit: Optimisation
    max_lists: int | None = Field(default=None, ge=1, description="the first so many lists; null: all that are mined")


class Student(Settings):
    """A small cross-encoder that learns margins from labelled lists."""

    init: str
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        min_length=1, description="the layers of `init` that the student keeps"
    )
    template: InputTemplate
    pointwise_weight: float = Field(default=0.1, ge=0)
    stages: tuple[StudentStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers {list(self.layers)}: each may be kept once")
        return self
