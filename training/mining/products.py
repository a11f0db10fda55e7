"""The products of a mining pool, held in Arrow columns: bytes instead of Python objects, whatever their number."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from artifact import PRODUCT_FIELDS

BATCH_ROWS = 4096
_SCHEMA = pa.schema([(field, pa.large_string()) for field in PRODUCT_FIELDS])


class Products:
    """Products by position, each once: what differs in the description alone counts as the same."""

    def __init__(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Takes the rows one after the other; the first of equal ones is kept, and none without a title."""
        self._table = pa.Table.from_batches(list(_batches(rows)), schema=_SCHEMA).combine_chunks()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def take(self, positions: Sequence[int] | np.ndarray) -> list[dict[str, str]]:
        """The products at positions, with the fields that they have."""
        rows = self._table.take(pa.array(positions, pa.int64())).to_pylist()
        return [_present(row) for row in rows]

    def batches(self, size: int, start: int = 0) -> Iterator[list[dict[str, str]]]:
        """All products from `start` on, in lists of `size`; the last may be shorter."""
        for first in range(start, len(self), size):
            yield [_present(row) for row in self._table.slice(first, size).to_pylist()]


def digest(text: str) -> int:
    """64 bits that tell texts apart, letter case and spacing aside; the same in every process."""
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest())


def _batches(rows: Iterable[Mapping[str, str]]) -> Iterator[pa.RecordBatch]:
    fresh = _fresh(rows)
    while batch := list(islice(fresh, BATCH_ROWS)):
        columns = [[row.get(field) for row in batch] for field in PRODUCT_FIELDS]
        arrays = [pa.array(column, pa.large_string()) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _fresh(rows: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    seen: set[int] = set()
    for row in rows:
        if not row.get("title"):
            continue
        key = digest("\x1f".join(row.get(field) or "" for field in PRODUCT_FIELDS if field != "description"))
        if key not in seen:
            seen.add(key)
            yield row


def _present(row: Mapping[str, str | None]) -> dict[str, str]:
    return {field: text for field, text in row.items() if text}
