"""Settings of candidate mining."""

from typing import Self

from pydantic import Field, model_validator

from .settings import Settings


class Pool(Settings):
    """How many candidates of a mining pool each query gets, by how they are found."""

    bm25: int = Field(default=0, ge=0, description="best by BM25")
    dense: int = Field(default=0, ge=0, description="best by the sentence encoder's cosine")
    middle: int = Field(default=0, ge=0, description="drawn from cosine ranks `dense` to 200")
    random: int = Field(default=0, ge=0, description="drawn from the whole pool")

    @model_validator(mode="after")
    def _wants_some(self) -> Self:
        if not self.bm25 + self.dense + self.middle + self.random:
            raise ValueError("give at least one of bm25, dense, middle and random, so that products are found")
        return self


class Mining(Settings):
    """Candidate lists for unlabelled queries."""

    pools: dict[str, Pool]
    max_queries: int | None = Field(default=None, ge=1)
    lists_per_shard: int = Field(default=500, ge=1)
