"""Reads whole sources into lists, for data that fits in memory; `training.data.prepare` is for what does not."""

from collections.abc import Iterator
from pathlib import Path

from ..config import Catalogue, Data, Judgements, Queries
from .leakage import queries_of, refuse_leaks, tested_queries
from .schema import JudgedPair, judged_in, present
from .sources import pair_batches, product_batches, query_batches
from .splits import QueryHashes
from .text_files import base_columns, csv_rows


def read_rows(path: Path, columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, row) of a CSV or CSV.gz file with a header that holds `columns`.

    Raises:
        TrainingError: the file is missing, is not UTF-8 CSV, lacks a column, or a row is not as long as the header.
    """
    rows = csv_rows(path, ",")
    header, *_ = next(rows)
    base_columns(path, columns, header, ",")
    for _, line, values, _ in rows:
        yield line, dict(zip(header, values, strict=True))


def read_catalogue(folder: Path, source: Catalogue) -> list[tuple[str, dict[str, str]]]:
    """The (id, product) rows of a catalogue; the id is empty where the source names no id column."""
    rows = (row for batch in product_batches(folder, source) for row in batch.to_pylist())
    return [(row["product_id"] or "", present(row)) for row in rows]


def read_queries(folder: Path, source: Queries) -> list[str]:
    """The queries of a table, blank ones left out."""
    return [query for batch in query_batches(folder, source) for query in batch["query"].to_pylist()]


def read_judgements(folder: Path, data: Data, source: Judgements) -> list[JudgedPair]:
    """The judged pairs of a table, in file order.

    Raises:
        TrainingError: an unknown grade, split or product id, named with its line; or a query in both splits.
    """
    return _pairs(folder, data, source, tested_queries(folder, data))


def read_all_judgements(folder: Path, data: Data) -> list[JudgedPair]:
    """The judged pairs of every source.

    Raises:
        TrainingError: as `read_judgements`; or a query stands in train of one source and in test of another.
    """
    tested = tested_queries(folder, data)
    by_source = [(folder / source.file, _pairs(folder, data, source, tested)) for source in data.judgements]
    refuse_leaks([(path, queries_of(pairs)) for path, pairs in by_source])
    return [pair for _, pairs in by_source for pair in pairs]


def _pairs(folder: Path, data: Data, source: Judgements, tested: QueryHashes | None) -> list[JudgedPair]:
    batches = pair_batches(folder, data, source, tested=tested)
    pairs = [pair for batch in batches for pair in judged_in(batch)]
    refuse_leaks([(folder / source.file, queries_of(pairs))])
    return pairs
