"""Reads a file of rows, whatever its format, as batches of text columns that remember where each row stood."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import TrainingError
from .text_files import is_cut, read_csv_batches, read_jsonl_batches

Progress = Callable[[Path, float], None]
"""Told after each batch which file was read and what share of it so far, in [0, 1]."""

_VALUES_NAMED = 8


def no_progress(path: Path, share: float) -> None:
    """Shows nothing."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file."""

    path: Path
    table: pa.Table
    """Columns of text under the names they were asked by; blank and absent values are null, others are trimmed."""
    numbers: NDArray[np.int64]
    """Where each row stands: a line of a text file, a row of parquet, from 1."""

    def place(self, row: int) -> str:
        """File and line of a row, to begin an error with."""
        return f"{self.path}, {place_unit(self.path)} {self.numbers[row]}"

    def refuse_first(self, wrong: pa.ChunkedArray, complaint: Callable[[dict[str, Any]], str]) -> None:
        """Raises TrainingError for the first row where `wrong` is true, if any; null counts as false."""
        row = int(pc.index(wrong, pa.scalar(True)).as_py())
        if row >= 0:
            raise TrainingError(f"{self.place(row)}: {complaint(self.table.slice(row, 1).to_pylist()[0])}")

    def filtered(self, keep: pa.ChunkedArray) -> "Rows":
        """The rows where `keep` is true."""
        mask = np.asarray(pc.fill_null(keep, False))
        return Rows(self.path, self.table.filter(pa.array(mask)), self.numbers[mask])


def is_parquet(path: Path) -> bool:
    """Whether the file's name says that it is parquet."""
    return path.suffix in (".parquet", ".pq")


def place_unit(path: Path) -> str:
    """What places in a file are counted in."""
    return "row" if is_parquet(path) else "line"


def read_batches(
    path: Path,
    wanted: Collection[str],
    *,
    needed: Collection[str] = (),
    where: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    progress: Progress = no_progress,
) -> Iterator[Rows]:
    """The wanted columns of a file, at most `schema.BATCH_ROWS` rows at a time.

    Args:
        path: its name says what it is: .parquet, .jsonl or .ndjson, otherwise CSV; .gz after the last two.
        wanted: columns; `column:key` is the value under `key` in a column of JSON objects.
        needed: those of `wanted` that JSON lines must have from the first on; the others may come later.
        where: column -> value that a row must have to be read.
        delimiter: between values of CSV; None: a tab in .tsv, else a comma.
        progress: told how far the reading is.

    Raises:
        TrainingError: the file is missing, damaged, not UTF-8, lacks a column or has no row that `where` lets pass; a
            row is cut short or holds what is not text.
    """
    where = where or {}
    names = dict.fromkeys([*wanted, *where])
    seen: dict[str, set[str]] = {name: set() for name in where}
    matched = False
    for rows, share in _read(path, list(names), {*needed, *where}, delimiter):
        found = _plain(rows)
        for name, value in where.items():
            if not matched and len(seen[name]) < _VALUES_NAMED:
                seen[name].update(text for text in pc.unique(found.table[name]).to_pylist() if text is not None)
            found = found.filtered(pc.equal(found.table[name], value))
        matched = matched or bool(len(found.numbers))
        progress(path, share)
        if len(found.numbers):
            yield found
    if where and not matched:
        asked = " and ".join(f"{name} = {value!r}" for name, value in where.items())
        there = "; ".join(f"{name}: {', '.join(sorted(seen[name])[:_VALUES_NAMED]) or 'none'}" for name in where)
        raise TrainingError(f"{path}: no row has {asked}; values found: {there}")


def _read(path: Path, names: list[str], needed: Collection[str], delimiter: str | None) -> Iterator[tuple[Rows, float]]:
    if is_parquet(path):
        from .parquet_files import read_parquet_batches

        batches = read_parquet_batches(path, names)
    elif Path(path.name.removesuffix(".gz")).suffix in (".jsonl", ".ndjson"):
        batches = read_jsonl_batches(path, names, needed)
    else:
        tab = Path(path.name.removesuffix(".gz")).suffix == ".tsv"
        batches = read_csv_batches(path, names, delimiter or ("\t" if tab else ","))
    for table, numbers, share in batches:
        rows = Rows(path, table, numbers)
        for name in names:
            if name not in table.column_names:
                rows = _with_key(rows, name)
        yield rows, share


def _with_key(rows: Rows, name: str) -> Rows:
    """Adds the column `column:key`, taken out of the JSON objects in `column`."""
    column, _, key = name.partition(":")
    values: list[str | None] = []
    for row, text in enumerate(rows.table[column].to_pylist()):
        content: Any = {}
        if text and text.strip():
            content = None
            with suppress(ValueError):
                content = json.loads(text, parse_int=str, parse_float=str)
        if not isinstance(content, dict):
            raise TrainingError(f"{rows.place(row)}: expected a JSON object in column {column}, found {text[:60]!r}")
        value = content.get(key)
        if isinstance(value, dict | list):
            raise TrainingError(f"{rows.place(row)}: expected text under {name}, found {json.dumps(value)[:60]}")
        if is_cut(value):
            raise TrainingError(f"{rows.place(row)}: half a character (a lone surrogate) under {name}")
        values.append(value if value is None or isinstance(value, str) else json.dumps(value))
    return Rows(rows.path, rows.table.append_column(name, pa.array(values, pa.string())), rows.numbers)


def _plain(rows: Rows) -> Rows:
    columns = {}
    for name in rows.table.column_names:
        text = pc.utf8_trim_whitespace(rows.table[name])
        columns[name] = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return Rows(rows.path, pa.table(columns), rows.numbers)
