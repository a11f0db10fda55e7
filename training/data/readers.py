"""Reads the data sources of a configuration into pairs, products and queries, with errors that name file and line."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from artifact.template import ProductField

from ..config import Catalogue, Data, Judgements, Queries
from ..errors import TrainingError
from .schema import JudgedPair
from .splits import refuse_leakage, split_of

csv.field_size_limit(1 << 24)


def read_rows(path: Path, columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, row) of a CSV or CSV.gz file with a header that holds `columns`.

    Raises:
        TrainingError: the file is missing, is not UTF-8 CSV, lacks a column, or a row is not as long as the header.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the header
        with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
            yield from _rows(path, csv.DictReader(file, strict=True), columns)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; --data names the folder that holds it") from None
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: expected CSV in UTF-8: {error}; save it as UTF-8") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise TrainingError(f"{path}: expected CSV in UTF-8 in a whole gzip file: {error}") from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror or error}") from error


def _rows(path: Path, reader: "csv.DictReader[str]", columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        missing = columns - set(reader.fieldnames or ())
        if missing:
            one = len(reader.fieldnames or ()) == 1
            hint = "; values are separated by commas" if one else ""
            raise TrainingError(f"{path}: expected columns {sorted(missing)}, found {reader.fieldnames}{hint}")
        for row in reader:
            if None in row.values() or None in row:
                fewer = "fewer" if None in row.values() else "more"
                raise TrainingError(f"{path}, line {reader.line_num}: {fewer} values than the header has columns")
            yield reader.line_num, row
    except csv.Error as error:
        raise TrainingError(f"{path}, after line {reader.line_num}: expected CSV in UTF-8: {error}") from error


def read_catalogue(folder: Path, source: Catalogue) -> list[tuple[str, dict[str, str]]]:
    """The (id, product) rows of a catalogue; the id is empty where the source names no id column."""
    columns = set(source.columns.values()) | ({source.id} if source.id else set())
    return [
        (row[source.id] if source.id else "", _product(row, source.columns))
        for _, row in read_rows(folder / source.file, columns)
    ]


def read_queries(folder: Path, source: Queries) -> list[str]:
    """The queries of a table, blank ones left out."""
    rows = read_rows(folder / source.file, {source.column})
    return [row[source.column].strip() for _, row in rows if row[source.column].strip()]


def read_judgements(folder: Path, data: Data, source: Judgements) -> list[JudgedPair]:
    """The judged pairs of a table, in file order.

    Raises:
        TrainingError: an unknown grade, split or product id, named with its line; or a query in both splits.
    """
    path = folder / source.file
    products = _catalogue_by_id(folder, data, source)
    columns = {source.query, source.grade, *source.columns.values()}
    columns |= {source.product_id} if source.catalogue else set()
    columns |= {source.split} if source.split else set()
    pairs = []
    for line, row in read_rows(path, columns):
        grade = row[source.grade].strip()
        if grade not in source.targets:
            raise TrainingError(f"{path}, line {line}: grade {grade!r} is not one of {list(source.targets)}")
        query = row[source.query].strip()
        if not query:
            raise TrainingError(f"{path}, line {line}: expected a query, found none")
        split = row[source.split].strip() if source.split else split_of(query, source.test_share)
        if split not in ("train", "test"):
            raise TrainingError(f"{path}, line {line}: split {split!r}: expected train or test")
        if source.catalogue is None:
            product = _product(row, source.columns)
        elif (product_id := row[source.product_id]) in products:
            product = products[product_id]
        else:
            raise TrainingError(f"{path}, line {line}: product {product_id!r} is not in catalogue {source.catalogue}")
        pairs.append(JudgedPair(query, product, grade, source.targets[grade], source.name, split))
    refuse_leakage(path, pairs)
    return pairs


def read_all_judgements(folder: Path, data: Data) -> list[JudgedPair]:
    """The judged pairs of every source.

    Raises:
        TrainingError: as `read_judgements`; or a query stands in train of one source and in test of another.
    """
    pairs = [pair for source in data.judgements for pair in read_judgements(folder, data, source)]
    refuse_leakage(folder, pairs)
    return pairs


def _catalogue_by_id(folder: Path, data: Data, source: Judgements) -> dict[str, dict[str, str]]:
    if source.catalogue is None:
        return {}
    catalogue = next((c for c in data.catalogues if c.name == source.catalogue), None)
    if catalogue is None or catalogue.id is None:
        raise TrainingError(f"judgements {source.name}: expected a catalogue {source.catalogue!r} with an `id` column")
    products: dict[str, dict[str, str]] = {}
    for product_id, product in read_catalogue(folder, catalogue):
        if products.setdefault(product_id, product) != product:
            path = folder / catalogue.file
            raise TrainingError(f"{path}: two different products have the id {product_id!r}: give each its own")
    return products


def _product(row: Mapping[str, str], columns: Mapping[ProductField, str]) -> dict[str, str]:
    return {field: text for field, column in columns.items() if (text := row[column].strip())}
