"""Settings of candidate mining and of weak labels made from catalogue attributes."""

from typing import Self

from pydantic import Field, model_validator

from .settings import Settings


class Pool(Settings):
    """How many candidates of a mining pool each query gets at most, by how they are found."""

    bm25: int = Field(default=0, ge=0, description="best by BM25, of those that share a word with the query")
    dense: int = Field(default=0, ge=0, description="best by the sentence encoder's cosine")
    middle: int = Field(default=0, ge=0, description="drawn from cosine ranks `dense` to 200")
    random: int = Field(default=0, ge=0, description="drawn from the whole pool")
    near_miss: int = Field(
        default=0, ge=0, description="like a best match in all but one of brand, colour, size and model"
    )
    disagree: int = Field(default=0, ge=0, description="ranked high by BM25 and low by the cosine, or the reverse")

    @model_validator(mode="after")
    def _wants_some(self) -> Self:
        if not self.bm25 + self.dense + self.middle + self.random + self.near_miss + self.disagree:
            raise ValueError(
                "give at least one of bm25, dense, middle, random, near_miss and disagree, so that products are found"
            )
        return self


class WeakLabels(Settings):
    """Graded pairs from attributes alone, for shops without human grades: see training/mining/weak_labels.py."""

    pool: str = Field(description="mining pool whose products queries are made of; they need a product_type")
    queries: int = Field(default=2000, ge=1, description="how many queries to make at most")
    candidates: int = Field(default=12, ge=2, description="graded products per query at most")


class Mining(Settings):
    """Candidate lists for unlabelled queries."""

    pools: dict[str, Pool]
    max_queries: int | None = Field(default=None, ge=1)
    lists_per_shard: int = Field(default=500, ge=1)
    disagree_top: int = Field(default=20, ge=1, description="`disagree`: among how many best of one retriever")
    disagree_beyond: int = Field(default=200, ge=1, description="`disagree`: beyond which rank of the other retriever")
    weak_labels: WeakLabels | None = Field(default=None, description="null: no pairs are made from attributes")

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if self.disagree_beyond < self.disagree_top:
            raise ValueError(f"disagree_beyond {self.disagree_beyond} is less than disagree_top {self.disagree_top}")
        if self.weak_labels is not None and self.weak_labels.pool not in self.pools:
            raise ValueError(f"weak_labels.pool {self.weak_labels.pool!r} is not one of the pools {sorted(self.pools)}")
        return self
