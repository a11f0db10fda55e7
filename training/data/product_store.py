"""Products on disk, found by id: a join's other side, in a few bytes of memory a product."""

import io
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from artifact import PRODUCT_FIELDS
from artifact.template import ProductField

from ..errors import TrainingError
from .formats import Rows, place_unit

Hash = Callable[[Hashable], int]


class ProductStore:
    """Products by id. Memory: 24 bytes a product, whatever its text; the texts stand in a file, or in memory.

    Ids are found by 64-bit hashes that hold within a process; the id itself stands beside the text and is compared, so
    ids with one hash are told apart.
    """

    def __init__(self, path: Path | None, hash_of: Hash = hash) -> None:
        """Starts an empty store.

        Args:
            path: file of the texts, removed at the end; None keeps them in memory.
            hash_of: gives 64 bits of an id.
        """
        self._path = path
        self._hash = hash_of
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = io.BytesIO() if path is None else path.open("wb+")
        self._hashes: NDArray[np.int64] = np.empty(0, np.int64)
        self._offsets: NDArray[np.int64] = np.empty(0, np.int64)
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk, told already
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def fill(self, batches: Iterable[Rows], keys: Sequence[str], columns: Mapping[ProductField, str]) -> None:
        """Takes all products in, once.

        Args:
            batches: rows of products.
            keys: the columns that make the id.
            columns: product field -> column.

        Raises:
            TrainingError: two different products have one id.
            OSError: the disk is full.
        """
        hashes, contents, offsets = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
        end, path = 0, None
        for rows in batches:
            path = rows.path
            fields = [rows.table[columns[field]].to_pylist() if field in columns else None for field in PRODUCT_FIELDS]
            products = list(zip(*[column or [None] * len(rows.numbers) for column in fields], strict=True))
            ids = keys_of(rows, keys)
            records = [
                json.dumps([key, place, product], ensure_ascii=False).encode()
                for key, place, product in zip(ids, rows.numbers.tolist(), products, strict=True)
            ]
            self._file.write(b"".join(records))
            ends = end + np.cumsum([len(record) for record in records])
            end = int(ends[-1])
            hashes.append(np.fromiter(map(self._hash, ids), np.int64, len(ids)))
            contents.append(np.fromiter(map(hash, products), np.int64, len(ids)))
            offsets.append(ends)
        bounds = np.concatenate(offsets)
        every = np.concatenate(hashes)
        order = np.argsort(every, kind="stable")
        self._hashes, self._offsets, self._ends = every[order], bounds[:-1][order], bounds[1:][order]
        if path is not None:
            self._refuse_different(path, np.concatenate(contents)[order])

    def take(self, ids: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
        """The products of ids.

        Returns:
            Columns of the product fields, a row an id, nulls where there is no such product; and whether there is one,
            shape (ids,).
        """
        wanted = {key: place for place, key in enumerate(dict.fromkeys(ids))}
        found: list[list[str | None]] = [[None] * len(PRODUCT_FIELDS)] * len(wanted)
        there = np.zeros(len(wanted), np.bool_)
        hashes = np.fromiter(map(self._hash, wanted), np.int64, len(wanted))
        starts = np.searchsorted(self._hashes, hashes)
        unique = list(wanted)
        known = starts < len(self._hashes)
        # in the order of the file, for the disk's sake
        nearby = np.argsort(self._offsets[np.where(known, starts, 0)]) if len(self._hashes) else starts[:0]
        for place in nearby.tolist():
            position = int(starts[place])
            while position < len(self._hashes) and self._hashes[position] == hashes[place]:
                key, _, product = self._record(position)
                if key == unique[place]:
                    found[place], there[place] = product, True
                    break
                position += 1
        rows = np.fromiter((wanted[key] for key in ids), np.int64, len(ids))
        columns = list(zip(*found, strict=True)) or [()] * len(PRODUCT_FIELDS)
        table = pa.table({f: pa.array(c, pa.string()) for f, c in zip(PRODUCT_FIELDS, columns, strict=True)})
        return table.take(pa.array(rows)), there[rows]

    def _record(self, position: int) -> tuple[str, int, list[str | None]]:
        start = int(self._offsets[position])
        self._file.seek(start)
        key, number, product = json.loads(self._file.read(int(self._ends[position]) - start).decode())
        return key, number, product

    def _refuse_different(self, path: Path, contents: NDArray[np.int64]) -> None:
        """Compares products whose ids have one hash; `contents` are hashes of their texts."""
        unit = place_unit(path)
        same_hash = self._hashes[1:] == self._hashes[:-1]
        for second in (np.flatnonzero(same_hash & (contents[1:] != contents[:-1])) + 1).tolist():
            key, line, product = self._record(second)
            first = int(np.searchsorted(self._hashes, self._hashes[second]))
            for position in range(first, second):
                other, earlier, texts = self._record(position)
                if other == key and texts != product:
                    raise TrainingError(
                        f"{path}: two different products have the id {shown(key)}, in {unit}s {earlier} and {line}: "
                        "give each its own"
                    )


def keys_of(rows: Rows, keys: Sequence[str]) -> list[str]:
    """The id of each row: one column, or several joined by a tab, which no value of these files holds."""
    columns = [pc.fill_null(rows.table[key], "") for key in keys]
    joined = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "\t")
    ids: list[str] = joined.to_pylist()
    return ids


def shown(key: str) -> str:
    """An id for a message."""
    return " in ".join(repr(part) for part in key.split("\t"))
