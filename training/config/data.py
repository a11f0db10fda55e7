"""Settings of the data sources."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from artifact.template import ProductField

from .settings import Settings


class Catalogue(Settings):
    """A table of products (CSV or CSV.gz): which column holds which product field."""

    name: str
    file: str
    licence: str
    columns: dict[ProductField, str]
    id: str | None = Field(default=None, description="column of the product's id, needed where judgements refer to it")
    pool: str | None = Field(default=None, description="mining pool; null keeps the catalogue out of mining")


class Judgements(Settings):
    """A table of human grades; products stand in its rows (`columns`) or in a catalogue (`catalogue`)."""

    name: str
    file: str
    licence: str
    query: str = "query"
    grade: str
    targets: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="grade as written -> soft target in [0, 1]"
    )
    product_id: str = "product_id"
    catalogue: str | None = None
    columns: dict[ProductField, str] = Field(default_factory=dict)
    split: str | None = Field(default=None, description="column saying train or test; null splits by query hash")
    test_share: float = Field(default=0.3, gt=0, lt=1, description="share of queries in test where `split` is null")
    ndcg_gains: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None, description="grade -> gain; null: no nDCG is reported"
    )
    auc: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = Field(
        default=(), description="pairs of (positive grades, negative grades), one AUC each"
    )
    pool: str | None = Field(default=None, description="mining pool of the training products in these rows")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.catalogue is None) == (not self.columns):
            raise ValueError(f"{self.name}: give either `catalogue` or `columns`, so that products can be read")
        if self.ndcg_gains is not None and set(self.ndcg_gains) != set(self.targets):
            raise ValueError(f"{self.name}: ndcg_gains must name the grades of targets, {sorted(self.targets)}")
        unknown = {grade for pair in self.auc for side in pair for grade in side} - set(self.targets)
        if unknown:
            raise ValueError(f"{self.name}: auc names {sorted(unknown)}, which targets does not")
        return self


class Queries(Settings):
    """A table of unlabelled queries (CSV or CSV.gz)."""

    name: str
    file: str
    licence: str
    column: str = "query"


class Data(Settings):
    """All data sources of a run. File names are relative to the data folder."""

    catalogues: tuple[Catalogue, ...] = ()
    judgements: tuple[Judgements, ...] = Field(min_length=1)
    queries: tuple[Queries, ...] = ()
