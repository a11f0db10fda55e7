"""Settings of evaluation: what is measured, how intervals are drawn, what a report says about noise."""

from typing import Annotated

from pydantic import Field

from .settings import Settings


class Evaluation(Settings):
    """How models are compared. None of it changes what a run trains."""

    depth: int = Field(default=10, ge=1, description="k of nDCG@k")
    relevant_target: float | None = Field(
        default=None, gt=0, le=1, description="soft target from which a pair is relevant (MRR, AUC); null: the highest"
    )
    bins: int = Field(default=10, ge=2, le=100, description="equal-width bins of predicted probability")
    resamples: int = Field(default=2000, ge=100, description="bootstrap resamples of an interval")
    permutations: int = Field(default=9999, ge=99, description="permutations of a paired test")
    seed: int = Field(default=0, ge=0, description="of resamples and permutations")
    segment_queries: int = Field(
        default=10, ge=2, description="a segment with fewer queries (nDCG) or pairs of a side (AUC) gives no figure"
    )
    categories: int = Field(default=8, ge=1, description="segments by category; the rest is one segment")
    raters: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] = Field(
        default_factory=dict, description="judgement source -> columns with the grades of its single raters"
    )
    noise_note: str | None = Field(default=None, description="text of the report about the noise of the judgements")
