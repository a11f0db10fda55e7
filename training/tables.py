"""Candidate lists as parquet shards: rows of one query stand together, a shard is written whole or not at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artifact import PRODUCT_FIELDS

from .errors import TrainingError
from .runs import replacing

SCHEMA = pa.schema(
    [
        ("list", pa.int32()),
        ("query", pa.string()),
        *((field, pa.string()) for field in PRODUCT_FIELDS),
        ("found_by", pa.string()),
        ("logit", pa.float32()),
        ("target", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product found for a query, and how; its teacher's logit once labelled; its human soft target if any."""

    product: dict[str, str]
    found_by: str
    logit: float | None = None
    target: float | None = None


@dataclass(frozen=True, slots=True)
class CandidateList:
    """A query with its candidates."""

    number: int
    query: str
    candidates: tuple[Candidate, ...]


def write_shard(path: Path, lists: Sequence[CandidateList]) -> None:
    """Writes lists to a parquet file, atomically."""
    rows = [(entry, candidate) for entry in lists for candidate in entry.candidates]
    columns: dict[str, list[Any]] = {
        "list": [entry.number for entry, _ in rows],
        "query": [entry.query for entry, _ in rows],
        **{field: [candidate.product.get(field) for _, candidate in rows] for field in PRODUCT_FIELDS},
        "found_by": [candidate.found_by for _, candidate in rows],
        "logit": [candidate.logit for _, candidate in rows],
        "target": [candidate.target for _, candidate in rows],
    }
    with replacing(path) as new:
        pq.write_table(pa.table(columns, schema=SCHEMA), new)


def read_shard(path: Path) -> list[CandidateList]:
    """Reads the lists of a shard.

    Raises:
        TrainingError: the file is not such a shard.
    """
    try:
        rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(path, error) from error
    lists: dict[int, list[Candidate]] = {}
    queries: dict[int, str] = {}
    for row in rows:
        product: dict[str, str] = {field: row[field] for field in PRODUCT_FIELDS if row[field]}
        lists.setdefault(row["list"], []).append(Candidate(product, row["found_by"], row["logit"], row["target"]))
        queries[row["list"]] = row["query"]
    return [CandidateList(number, queries[number], tuple(candidates)) for number, candidates in lists.items()]


def _no_shard(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path}: expected a shard of candidate lists: {error}; delete it and run its stage again")


def shards(folder: Path) -> list[Path]:
    """The shards of a folder in order."""
    return sorted(folder.glob("*.parquet"))


def read_lists(folder: Path) -> Iterator[CandidateList]:
    """The lists of all shards of a folder, in order."""
    for path in shards(folder):
        yield from read_shard(path)


def list_sizes(folder: Path) -> NDArray[np.int64]:
    """How many products each list of a folder's shards has, in order, shape (lists,)."""
    return np.concatenate([np.zeros(0, np.int64), *(sizes_in(path) for path in shards(folder))])


def sizes_in(path: Path) -> NDArray[np.int64]:
    """How many products each list of a shard has, in order, shape (lists,).

    Raises:
        TrainingError: the file is not such a shard.
    """
    try:
        numbers = pq.read_table(path, columns=["list"])["list"].to_numpy()
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(path, error) from error
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return np.diff(starts, append=len(numbers))
