"""The canonical tables that every source becomes: judged pairs, products, queries; columnar, one for all readers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from artifact import PRODUCT_FIELDS

BATCH_ROWS = 8192
"""Rows held at a time: by readers, by writers, and in one row group of a file."""

_FIELDS = [(field, pa.string()) for field in PRODUCT_FIELDS]

PAIRS = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        ("product_id", pa.string()),
        *_FIELDS,
        ("grade", pa.string()),
        ("target", pa.float32()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)
"""A (query, product) pair a row. `grade` as written and soft `target` in [0, 1]: null where unjudged. `split`: train or
test. A product field without text is null; `product_id` is null where the source has none."""

PRODUCTS = pa.schema([("product_id", pa.string()), *_FIELDS])
"""A product a row."""

QUERIES = pa.schema([pa.field("query", pa.string(), nullable=False)])
"""An unlabelled query a row."""


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A (query, product) pair with its human grade and the soft target that the grade stands for."""

    query: str
    product: Mapping[str, str]
    grade: str
    target: float
    source: str
    split: str


def judged_in(rows: pa.Table | pa.RecordBatch) -> Iterator[JudgedPair]:
    """The pairs of rows in the schema `PAIRS`, those without a target left out."""
    for row in rows.to_pylist():
        if row["target"] is not None:
            target = round(row["target"], 6)  # 0.1 as written, not as the nearest float32
            yield JudgedPair(row["query"], present(row), row["grade"] or "", target, row["source"], row["split"])


def present(row: Mapping[str, str | None]) -> dict[str, str]:
    """The product fields of a row that have text."""
    return {field: text for field in PRODUCT_FIELDS if (text := row[field])}
