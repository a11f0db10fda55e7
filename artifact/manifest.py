"""The manifest: everything that the service must know of a model, and everything that an auditor asks."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .calibration import Calibration
from .distribution import Distribution
from .template import InputTemplate

SCHEMA_VERSION: Literal[1] = 1

SPLIT_PARTS = ("product_encoder", "query_encoder", "states")
"""Of a variant, where the model is split."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerFile(_Part):
    """The tokenizer, and the vocabulary size that the model's embedding table has room for."""

    file: FileName = "tokenizer.json"
    sha256: Sha256
    vocab_size: int = Field(ge=1)


class LatencyPoint(_Part):
    """The median time of one run over pairs of one length, on one thread of the machine that made the artifact."""

    pairs: int = Field(ge=1)
    tokens: int = Field(ge=1, description="of each pair, special ones included")
    seconds: float = Field(gt=0, allow_inf_nan=False)


class GraphFile(_Part):
    """One ONNX file."""

    file: FileName
    size_bytes: int = Field(ge=1)
    sha256: Sha256


class StateLayout(_Part):
    """What a split model keeps of a product: see `product_states.ProductState`."""

    precision: Literal["int8", "fp32"]
    width: int = Field(ge=1, description="of a token's state")
    pooled_width: int = Field(ge=1, description="of the product's vector")


class Variant(_Part):
    """One compiled form of the model.

    A cross-encoder has one graph, `file`. Of a split model that is the graph that joins a query with the states of
    products, and the encoders of either side stand beside it.
    """

    name: str = Field(description="device and precision, such as cpu-int8")
    file: FileName
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "fp16", "int8"]
    size_bytes: int = Field(ge=1)
    sha256: Sha256
    choices: dict[str, str] = Field(
        default_factory=dict, description="what the export chose by measuring, such as attention: fused"
    )
    golden_tolerance: float = Field(gt=0, description="largest |logit - golden logit| that passes on any machine")
    latency: tuple[LatencyPoint, ...] = Field(
        default=(), description="what a run takes by its shape: where a service's predictions start"
    )
    product_encoder: GraphFile | None = None
    query_encoder: GraphFile | None = None
    states: StateLayout | None = None
    product_latency: tuple[LatencyPoint, ...] = Field(
        default=(), description="the same of the product encoder, a product counted as a pair"
    )

    def graphs(self) -> tuple[GraphFile, ...]:
        """Every ONNX file of the variant, `file` first."""
        own = GraphFile(file=self.file, size_bytes=self.size_bytes, sha256=self.sha256)
        return tuple(graph for graph in (own, self.product_encoder, self.query_encoder) if graph is not None)


class DataSet(_Part):
    """One data set that the model learned from."""

    name: str
    rows: int = Field(ge=0)
    licence: str
    role: str = Field(description="what it was used for, such as 'teacher, human labels'")


class Lineage(_Part):
    """Where the model comes from."""

    teacher: str
    student_init: str
    loss: str
    seed: int
    commit: str | None = Field(description="commit of the code that trained it; null outside a repository")
    created: str = Field(description="UTC date, YYYY-MM-DD")
    data_sets: tuple[DataSet, ...]
    durations_s: dict[str, float] = Field(description="stage -> seconds of wall clock")


class Metric(_Part):
    """One measured figure with its 95 % bootstrap interval."""

    name: str
    value: Finite
    low: Finite
    high: Finite
    data: str
    split: str
    variant: str
    size: int = Field(ge=1, description="queries (nDCG) or pairs (AUC) that it averages over")


class GoldenPair(_Part):
    """A pair with the logit that each variant must give, within the variant's tolerance."""

    query: str
    product: dict[str, str]
    logits: dict[str, Finite]


class ScoreHistogram(_Part):
    """Reference distribution of served scores, over equal bins of [0, 1], for drift alarms."""

    counts: tuple[int, ...] = Field(min_length=2)
    data: str


class InputReference(_Part):
    """Reference distributions of queries and products, for drift: `reading.SIGNALS` but for the score."""

    signals: dict[str, Distribution]
    data: str


class Manifest(_Part):
    """The whole manifest. `version` is derived from everything else: `derive_version`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(min_length=1)
    version: str = Field(pattern=r"^[0-9a-f]{16}$")
    architecture: Literal["cross-encoder", "split"]
    layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    template: InputTemplate
    tokenizer: TokenizerFile
    variants: tuple[Variant, ...] = Field(min_length=1)
    calibration: Calibration
    lineage: Lineage
    evaluation: tuple[Metric, ...]
    golden_pairs: tuple[GoldenPair, ...] = Field(min_length=1)
    score_histogram: ScoreHistogram | None = None
    input_reference: InputReference | None = None

    @model_validator(mode="after")
    def _parts_of_the_architecture(self) -> Self:
        split = self.architecture == "split"
        for variant in self.variants:
            if any((part is not None) != split for part in (getattr(variant, name) for name in SPLIT_PARTS)):
                wanted = f"{'needs' if split else 'has no'} {', '.join(SPLIT_PARTS)}"
                raise ValueError(f"variant {variant.name}: a {self.architecture} model {wanted}")
        return self

    def variant(self, name: str) -> Variant | None:
        """The variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)


def derive_version(contents: dict[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a manifest's JSON, as it stands in the file, without `version`.

    Latency tables are left out too: measured again on another machine, they make no other model. So is what inputs are
    compared with, which can be counted again from other pairs. The manifest holds every file's hash, so two artifacts
    share a version only if they score the same.
    """
    rest = {key: value for key, value in contents.items() if key not in {"version", "input_reference"}}
    if isinstance(variants := rest.get("variants"), list):
        rest["variants"] = [_without_latency(variant) for variant in variants]
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_latency(variant: object) -> object:
    """Without what only a split model has, too, where it stands as null."""
    if not isinstance(variant, dict):
        return variant
    absent = {name for name in SPLIT_PARTS if variant.get(name) is None}
    return {key: value for key, value in variant.items() if key not in {"latency", "product_latency"} | absent}
