"""Reads the products of a catalogue's file, however long, with the readers of training."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import pyarrow.parquet as pq

from artifact import Product
from artifact.template import ProductField
from training.config import Catalogue
from training.data.formats import is_parquet
from training.data.schema import present
from training.data.sources import product_batches
from training.data.text_files import csv_rows, opened

from .errors import ExportError

Columns = dict[ProductField, str]
"""Product field -> column of the file; `column:key` for a key of a column of JSON objects."""

_FIELDS = "|".join(get_args(ProductField))


def parse_columns(text: str) -> Columns:
    """Reads `title=name,brand=maker`.

    Raises:
        ValueError: it is nothing of that form, or names a field twice.
    """
    parts = re.split(rf",(?=(?:{_FIELDS})=)", text)
    pairs = [(name, column) for name, _, column in (part.partition("=") for part in parts)]
    columns = dict(pairs)
    if len(columns) < len(pairs) or any(name not in get_args(ProductField) or not column for name, column in pairs):
        raise ValueError(f"expected FIELD=COLUMN,... with fields among {_FIELDS.replace('|', ', ')}, got {text!r}")
    return cast("Columns", columns)


@dataclass
class CatalogueFile:
    """The products of a file: CSV, TSV, JSON lines (each also .gz) or parquet, told apart by its name.

    Attributes:
        path: the file.
        columns: where each product field stands; other fields are absent.
        expected_rows: in the whole file, by what has been read of it; 0 before.
    """

    path: Path
    columns: Columns
    expected_rows: int = field(default=0, init=False)
    _share: float = field(default=0.0, init=False)

    def products(self) -> Iterator[Product]:
        """Each row's product, in file order, a few thousand rows held at a time.

        Raises:
            TrainingError: the file is damaged or lacks a column, or a row is broken: with its line.
        """
        source = Catalogue(name="catalogue", file=self.path.name, licence="", columns=self.columns)
        read = 0
        for batch in product_batches(self.path.parent, source, self._note_share):
            read += len(batch)
            self.expected_rows = round(read / self._share) if self._share else 0
            for row in batch.to_pylist():
                yield present(row)

    def _note_share(self, _: Path, share: float) -> None:
        self._share = share


def open_catalogue(path: Path, fields: Sequence[ProductField], columns: Columns | None = None) -> CatalogueFile:
    """A catalogue for a template that reads these fields.

    Args:
        path: the file.
        fields: product fields; others are not read.
        columns: where they stand; None: in the columns that are called as they are.

    Raises:
        ExportError: the file is not there, or none of the fields is in it.
        TrainingError: it cannot be read.
    """
    if not path.is_file():
        raise ExportError(f"{path}: expected a catalogue, found no such file")
    if columns is None:
        there = _columns_of(path, set(fields))
        columns = {name: name for name in fields if name in there}
        if not columns:
            raise ExportError(
                f"{path}: expected columns called {', '.join(fields)}, found {', '.join(sorted(there)) or 'none'}; "
                f"say which columns they are by --columns, such as {fields[0]}=COLUMN"
            )
    read: Columns = {name: column for name, column in columns.items() if name in fields}
    if not read:
        raise ExportError(f"the model reads {', '.join(fields)} of a product: name the column of one in --columns")
    return CatalogueFile(path, read)


def _columns_of(path: Path, wanted: set[ProductField]) -> set[str]:
    """The names of a file's columns; of JSON lines, which may leave any out, at least those wanted that occur."""
    plain_name = Path(path.name.removesuffix(".gz"))
    if is_parquet(path):
        try:
            return set(pq.read_schema(path).names)
        except (OSError, ValueError) as error:
            raise ExportError(f"{path}: expected a parquet file: {error}") from error
    if plain_name.suffix not in (".jsonl", ".ndjson"):
        header, *_ = next(csv_rows(path, "\t" if plain_name.suffix == ".tsv" else ","))
        return set(header)
    found: set[str] = set()
    with opened(path, "JSON lines") as (file, _):
        for text in file:
            try:
                content = json.loads(text)
            except ValueError:
                continue  # whoever reads the rows says which line it is
            found.update(content if isinstance(content, dict) else ())
            if wanted <= found:
                break
    return found
