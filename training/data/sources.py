"""Turns the sources of a configuration into batches of the canonical tables, checking every row on the way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artifact import PRODUCT_FIELDS
from artifact.template import ProductField

from ..config import Catalogue, Data, Judgements, Queries
from ..errors import TrainingError
from .formats import Progress, Rows, no_progress, read_batches
from .product_store import ProductStore, keys_of, shown
from .schema import PAIRS, PRODUCTS, QUERIES
from .splits import TEST, TRAIN, QueryHashes, split_of


def product_batches(folder: Path, source: Catalogue, progress: Progress = no_progress) -> Iterator[pa.Table]:
    """The products of a catalogue in the schema `PRODUCTS`, in file order; the id is null where there is none.

    Raises:
        TrainingError: as `read_batches`.
    """
    for rows in _catalogue_rows(folder, source, progress):
        ids = rows.table[source.id] if source.id else pa.nulls(len(rows.numbers), pa.string())
        yield pa.table({"product_id": ids, **_fields(rows, source.columns)}, schema=PRODUCTS)


def query_batches(folder: Path, source: Queries, progress: Progress = no_progress) -> Iterator[pa.Table]:
    """The queries of a table in the schema `QUERIES`, blank ones left out.

    Raises:
        TrainingError: as `read_batches`.
    """
    for rows in read_batches(
        folder / source.file,
        [source.column],
        needed=[source.column],
        where=source.filters,
        delimiter=source.delimiter,
        progress=progress,
    ):
        yield pa.table({"query": rows.table[source.column].drop_null()}, schema=QUERIES)


def split_batches(folder: Path, source: Judgements, progress: Progress = no_progress) -> Iterator[pa.Table]:
    """The columns query and split of judgements, without their products.

    Raises:
        TrainingError: as `pair_batches`, but for products.
    """
    queries = _queries_by_id(folder, source)
    for rows in _judgement_rows(folder, source, progress):
        query = _query(rows, source, queries)
        yield pa.table({"query": query, "split": _split(rows, source, query)})


def pair_batches(
    folder: Path,
    data: Data,
    source: Judgements,
    *,
    tested: QueryHashes | None = None,
    store: Path | None = None,
    progress: Progress = no_progress,
) -> Iterator[pa.Table]:
    """The pairs of judgements in the schema `PAIRS`, in file order.

    Args:
        folder: of the data files.
        data: all sources; a catalogue is looked up in it.
        source: the judgements.
        tested: keys of all test queries, where `source.leaks` is "drop": training rows with one of them are left out.
        store: a file that may be written while reading, for the products to join; None joins in memory.
        progress: told how far each file is read.

    Raises:
        TrainingError: as `read_batches`; an unknown grade, split or product, a target outside [0, 1], a row without a
            query, or two products under one id, each with its line.
        OSError: the disk is full.
    """
    queries = _queries_by_id(folder, source)
    dropped = tested if source.leaks == "drop" else None
    with _joined(folder, data, source, store, progress) as products:
        for rows in _judgement_rows(folder, source, progress):
            query = _query(rows, source, queries)
            grade, target = _judgement(rows, source)
            split = _split(rows, source, query)
            ids, fields = _products(rows, source, products)
            columns = {"query": query, "product_id": ids, **fields, "grade": grade, "target": target, "split": split}
            columns["source"] = pa.array([source.name] * len(rows.numbers), pa.string())
            table = pa.table({name: columns[name] for name in PAIRS.names}, schema=PAIRS)
            yield table if dropped is None else _without_tested(table, dropped)


def _without_tested(table: pa.Table, tested: QueryHashes) -> pa.Table:
    coded = pc.dictionary_encode(table["query"]).combine_chunks()
    of_row = tested.holds(coded.dictionary.to_pylist())[coded.indices.to_numpy(zero_copy_only=False)]
    return table.filter(pa.array(~(of_row & np.asarray(pc.equal(table["split"], TRAIN)))))


def _judgement_rows(folder: Path, source: Judgements, progress: Progress) -> Iterator[Rows]:
    needed = {source.query, *((source.grade or source.target or "",)), *((source.split,) if source.split else ())}
    joins = source.catalogue is not None or source.products_file is not None
    needed |= set(source.product_keys) if joins else set()
    wanted = needed if joins else {*needed, *source.columns.values()}
    return read_batches(
        folder / source.file,
        sorted(wanted),
        needed=needed,
        where=source.filters,
        delimiter=source.delimiter,
        progress=progress,
    )


def _query(rows: Rows, source: Judgements, queries: Mapping[str, str] | None) -> pa.ChunkedArray:
    column = rows.table[source.query]
    rows.refuse_first(pc.is_null(column), lambda _: "expected a query, found none")
    if queries is None:
        return column
    texts = pa.array([queries.get(key) for key in column.to_pylist()], pa.string())
    unknown = pa.chunked_array([pc.is_null(texts)])
    rows.refuse_first(unknown, lambda row: f"query {row[source.query]!r} is not in {source.queries_file}")
    return pa.chunked_array([texts])


def _judgement(rows: Rows, source: Judgements) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Grades, and soft targets as float32; null where a row is unjudged."""
    if source.grade is not None:
        name = source.grade
        grade = rows.table[name]
        places = pc.index_in(grade, value_set=pa.array(list(source.targets), pa.string()))
        scale = list(source.targets)
        rows.refuse_first(
            pc.is_null(places), lambda row: f"grade {row[name] or ''!r} is not one of {scale}: add it to `targets`"
        )
        return grade, pc.take(pa.array(list(source.targets.values()), pa.float32()), places)
    name = source.target or ""
    values = [_number(text) for text in rows.table[name].to_pylist()]
    wrong = [value is not None and not 0 <= value <= 1 for value in values]
    rows.refuse_first(
        pa.chunked_array([wrong]), lambda row: f"target {row[name]!r} in {name}: expected a number from 0 to 1"
    )
    nulls = pa.nulls(len(values), pa.string())
    return pa.chunked_array([nulls]), pa.chunked_array([pa.array(values, pa.float32())])


def _number(text: str | None) -> float | None:
    """NaN, which lies nowhere, for what is no number."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return float("nan")


def _split(rows: Rows, source: Judgements, query: pa.ChunkedArray) -> pa.ChunkedArray:
    if source.split is not None:
        name = source.split
        given = pc.fill_null(rows.table[name], "")
        wrong = pc.invert(pc.is_in(given, value_set=pa.array([TRAIN, TEST])))
        rows.refuse_first(wrong, lambda row: f"split {row[name] or ''!r}: expected train or test")
        return given
    coded = pc.dictionary_encode(query).combine_chunks()
    splits = pa.array([split_of(text, source.test_share) for text in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([splits.take(coded.indices)])


def _products(
    rows: Rows, source: Judgements, products: ProductStore | None
) -> tuple[pa.Array | pa.ChunkedArray, dict[str, pa.Array | pa.ChunkedArray]]:
    if products is None:
        return pa.nulls(len(rows.numbers), pa.string()), _fields(rows, source.columns)
    keys = source.product_keys
    ids = keys_of(rows, keys)
    fields, there = products.take(ids)
    where = f"catalogue {source.catalogue}" if source.catalogue else source.products_file
    rows.refuse_first(
        pa.chunked_array([pa.array(~there)]),
        lambda row: f"product {shown(chr(9).join(row[key] or '' for key in keys))} is not in {where}",
    )
    return rows.table[keys[0]], {field: fields[field] for field in PRODUCT_FIELDS}


@contextmanager
def _joined(
    folder: Path, data: Data, source: Judgements, store: Path | None, progress: Progress
) -> Iterator[ProductStore | None]:
    """The products that a source's rows refer to, or None where they stand in the rows."""
    if source.catalogue is None and source.products_file is None:
        yield None
        return
    with ProductStore(store) as products:
        if source.products_file is not None:
            keys, columns = source.product_keys, source.columns
            where = {name: value for name, value in source.filters.items() if name == "product_locale"}
            batches = read_batches(
                folder / source.products_file,
                sorted({*keys, *columns.values()}),
                needed=keys,
                where=where,
                delimiter=source.delimiter,
                progress=progress,
            )
        else:
            catalogue = next((c for c in data.catalogues if c.name == source.catalogue), None)
            if catalogue is None or catalogue.id is None:
                raise TrainingError(
                    f"judgements {source.name}: expected a catalogue {source.catalogue!r} with an `id` column"
                )
            keys, columns = (catalogue.id,), catalogue.columns
            batches = _catalogue_rows(folder, catalogue, progress)
        products.fill(batches, keys, columns)
        yield products


def _catalogue_rows(folder: Path, source: Catalogue, progress: Progress) -> Iterator[Rows]:
    return read_batches(
        folder / source.file,
        sorted({*source.columns.values(), *((source.id,) if source.id else ())}),
        needed=[source.id] if source.id else [],
        where=source.filters,
        delimiter=source.delimiter,
        progress=progress,
    )


def _queries_by_id(folder: Path, source: Judgements) -> dict[str, str] | None:
    """The queries that rows name by id, None where they hold the query itself."""
    if source.queries_file is None:
        return None
    path = folder / source.queries_file
    queries: dict[str, str] = {}
    for rows in read_batches(path, [source.query, "query"], needed=[source.query], delimiter=source.delimiter):
        for row, (key, query) in enumerate(
            zip(rows.table[source.query].to_pylist(), rows.table["query"].to_pylist(), strict=True)
        ):
            if not query:
                raise TrainingError(f"{rows.place(row)}: expected a query, found none")
            if queries.setdefault(key, query) != query:
                raise TrainingError(f"{rows.place(row)}: two queries have the id {key!r}: give each its own")
    return queries


def _fields(rows: Rows, columns: Mapping[ProductField, str]) -> dict[str, pa.Array | pa.ChunkedArray]:
    nulls = pa.nulls(len(rows.numbers), pa.string())
    return {field: rows.table[columns[field]] if field in columns else nulls for field in PRODUCT_FIELDS}
