"""The configuration of a run: data sources and the settings of each stage, read from one TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from artifact import InputTemplate
from artifact.template import ProductField

from .errors import TrainingError

Precision = Literal["auto", "bf16", "fp32"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Catalogue(_Settings):
    """A table of products (CSV or CSV.gz): which column holds which product field."""

    name: str
    file: str
    licence: str
    columns: dict[ProductField, str]
    id: str | None = Field(default=None, description="column of the product's id, needed where judgements refer to it")
    pool: str | None = Field(default=None, description="mining pool; null keeps the catalogue out of mining")


class Judgements(_Settings):
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
    columns: dict[ProductField, str] = {}
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


class Queries(_Settings):
    """A table of unlabelled queries (CSV or CSV.gz)."""

    name: str
    file: str
    licence: str
    column: str = "query"


class Data(_Settings):
    """All data sources of a run. File names are relative to the data folder."""

    catalogues: tuple[Catalogue, ...] = ()
    judgements: tuple[Judgements, ...] = Field(min_length=1)
    queries: tuple[Queries, ...] = ()


class Pool(_Settings):
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


class Mining(_Settings):
    """Candidate lists for unlabelled queries."""

    pools: dict[str, Pool]
    max_queries: int | None = Field(default=None, ge=1)
    lists_per_shard: int = Field(default=500, ge=1)


class Optimisation(_Settings):
    """AdamW with linear warm-up and linear decay."""

    learning_rate: float = Field(gt=0)
    epochs: float = Field(gt=0)
    batch_pairs: int = Field(ge=1)
    warmup_share: float = Field(default=0.06, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    checkpoint_every_s: float = Field(default=120, gt=0)
    precision: Precision = "auto"


class Teacher(_Settings):
    """A cross-encoder with a similarity shortcut, fine-tuned on soft targets."""

    model: str = Field(description="Hugging Face id, folder, or all-MiniLM-L6-v2 (from the installed package)")
    template: InputTemplate
    fit: Optimisation


class StudentStage(_Settings):
    """One pass of the student over labelled lists."""

    labels: Literal["similarity", "teacher"]
    fit: Optimisation
    max_lists: int | None = Field(default=None, ge=1, description="the first so many lists; null: all that are mined")


class Student(_Settings):
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


class Config(_Settings):
    """Everything that decides a run's outcome."""

    seed: int = Field(default=0, ge=0)
    encoder: str = Field(default="all-MiniLM-L6-v2", description="sentence encoder of similarities and dense mining")
    data: Data
    mining: Mining
    teacher: Teacher
    student: Student

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        pools = [*(c.pool for c in self.data.catalogues), *(j.pool for j in self.data.judgements)]
        used = {pool for pool in pools if pool is not None}
        if used != set(self.mining.pools):
            raise ValueError(f"mining.pools names {sorted(self.mining.pools)}, the data sources name {sorted(used)}")
        for kind, sources in (("judgements", self.data.judgements), ("catalogues", self.data.catalogues)):
            names = [source.name for source in sources]
            if len(set(names)) < len(names):
                raise ValueError(f"data.{kind}: every source needs a name of its own, not {names}")
        return self


def read_config(path: Path) -> Config:
    """Reads a TOML configuration.

    Raises:
        TrainingError: naming the file, the setting and what was expected.
    """
    try:
        return Config.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or 'top'}: {e['msg']}"
            for e in error.errors()
            if e["type"] != "too_short" or len(error.errors()) == 1
        ]
        raise TrainingError(f"{path}: settings that do not hold:\n" + "\n".join(lines)) from error
