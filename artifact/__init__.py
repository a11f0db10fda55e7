"""The contract between training and serving: manifest, input template, tokenisation.

Everything that turns a query and a product into model inputs, and everything a service must know about a model,
is defined here and nowhere else, so that training and serving cannot drift apart. No torch, no onnxruntime.
"""

from .calibration import Calibration
from .errors import ArtifactError
from .loading import Artifact, load_artifact
from .manifest import (
    SCHEMA_VERSION,
    DataSet,
    GoldenPair,
    InputReference,
    LatencyPoint,
    Lineage,
    Manifest,
    Metric,
    ScoreHistogram,
    StateLayout,
    TokenizerFile,
    Variant,
)
from .template import PRODUCT_FIELDS, InputTemplate, PairFormat, Product, TemplateField
from .tokenisation import PairBatch, PairTokenizer
from .writing import write_artifact

__all__ = [
    "PRODUCT_FIELDS",
    "SCHEMA_VERSION",
    "Artifact",
    "ArtifactError",
    "Calibration",
    "DataSet",
    "GoldenPair",
    "InputReference",
    "InputTemplate",
    "LatencyPoint",
    "Lineage",
    "Manifest",
    "Metric",
    "PairBatch",
    "PairFormat",
    "PairTokenizer",
    "Product",
    "ScoreHistogram",
    "StateLayout",
    "TemplateField",
    "TokenizerFile",
    "Variant",
    "load_artifact",
    "write_artifact",
]
