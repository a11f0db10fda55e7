"""What the small routes answer, for the documentation: they build it themselves."""

from typing import Literal

from pydantic import BaseModel, Field

from artifact import InputTemplate, Metric, StateLayout


class Live(BaseModel):
    """The process can make progress."""

    status: Literal["live"]
    lanes: int = Field(ge=1, description="How many answer: all.")


class Ready(BaseModel):
    """Requests will be served."""

    status: Literal["ready"]


class States(BaseModel):
    """What a split model keeps of a product."""

    version: str
    layout: StateLayout
    file_products: int | None = Field(description="Products in its states file; null without one.")


class ModelReport(BaseModel):
    """A loaded model."""

    name: str = Field(description="By which requests choose it.")
    version: str
    architecture: Literal["cross-encoder", "split"]
    template: InputTemplate
    evaluation: list[Metric]
    variant: str
    precision: Literal["int8", "fp32", "fp16"]
    states: States | None = Field(default=None, description="Of a split model alone.")
    manifest_name: str
    default: bool


class Models(BaseModel):
    """The loaded models, the default first; none while loading."""

    models: list[ModelReport]
