"""Audited pairs as parquet shards, which are labelled as the candidate lists of a run are: one at a time, resumable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifact import PRODUCT_FIELDS
from artifact.audited import AuditedPair
from artifact.loading import sha256_of

from ..errors import TrainingError
from ..runs import read_json, replacing, write_json
from .reading import OnBadLine, refuse_bad_line, requests_in

SHARD_PAIRS = 2048
"""At least, but for the last of a file: a request stands in one shard. A kill loses the labels of one shard."""

KEY_DIGITS = 16

SCHEMA = pa.schema(
    [
        ("list", pa.int32()),
        ("query", pa.string()),
        *((field, pa.string()) for field in PRODUCT_FIELDS),
        ("request_id", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("served_logit", pa.float64()),
        ("served_score", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Shards:
    """Of one audit file, in order, and how many of its lines were left out."""

    paths: tuple[Path, ...]
    bad_lines: int


def shard_file(path: Path, folder: Path, *, skip_bad_lines: bool = False) -> Shards:
    """Writes the pairs of an audit file to shards in `folder`, unless they are there.

    They are named after the file's contents: the same file under another name is the same pairs.

    Raises:
        TrainingError: a line is no pair, and is not to be skipped; or as `requests_in`.
        OSError: the disk is full; the same call goes on once it is not.
    """
    key = sha256_of(path)[:KEY_DIGITS]
    done = folder / f"{key}.json"
    if done.exists():
        noted = read_json(done)
        shards = Shards(tuple(folder / name for name in noted["shards"]), noted["bad_lines"])
        if all(shard.exists() for shard in shards.paths) and (skip_bad_lines or not shards.bad_lines):
            return shards
    bad_lines = 0

    def count(_: str) -> None:
        nonlocal bad_lines
        bad_lines += 1

    on_bad_line: OnBadLine = count if skip_bad_lines else refuse_bad_line
    paths = []
    for number, rows in enumerate(_parts(path, on_bad_line)):
        shard = folder / f"{key}-{number:05d}.parquet"
        with replacing(shard) as new:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), new)
        paths.append(shard)
    write_json(done, {"file": path.name, "shards": [shard.name for shard in paths], "bad_lines": bad_lines})
    return Shards(tuple(paths), bad_lines)


def _parts(path: Path, on_bad_line: OnBadLine) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for number, pairs in enumerate(requests_in(path, on_bad_line)):
        rows += _rows(number, pairs)
        if len(rows) >= SHARD_PAIRS:
            yield rows
            rows = []
    if rows:
        yield rows


def _rows(number: int, pairs: Sequence[AuditedPair]) -> list[dict[str, Any]]:
    return [
        {
            **{str(field): text for field, text in pair.product.items()},
            "list": number,
            "query": pair.query,
            "request_id": pair.request_id,
            "model": pair.model,
            "version": pair.version,
            "served_logit": pair.logit,
            "served_score": pair.score,
        }
        for pair in pairs
    ]


def read_labelled(path: Path) -> pa.Table:
    """A shard with the teacher's logits.

    Raises:
        TrainingError: it is damaged.
    """
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: damaged or cut short: {error}; delete it and run the same command") from error
