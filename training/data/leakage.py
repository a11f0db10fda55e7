"""Leakage between train and test, within a source and across sources: found in bounded memory, refused or dropped."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..config import Data
from ..errors import TrainingError
from .schema import JudgedPair
from .sources import split_batches
from .splits import TEST, QueryHashes, SplitCheck, normalise_query

QuerySplits = Callable[[], Iterable[tuple[str, str]]]
"""Gives the (query, split) rows of a source from the beginning, as often as it is called."""


def queries_of(pairs: Sequence[JudgedPair]) -> QuerySplits:
    """The (query, split) rows of pairs in memory."""
    return lambda: ((pair.query, pair.split) for pair in pairs)


def refuse_leaks(sources: Sequence[tuple[Path, QuerySplits]]) -> None:
    """Refuses sources of which a query, as `normalise_query` sees it, stands in both splits.

    Only keys whose hashes meet are compared, on a second pass over the rows.

    Raises:
        TrainingError: naming the query, and the files of both its rows.
    """
    check = SplitCheck()
    for _, rows in sources:
        check.add(rows())
    suspects = check.suspects()
    if not suspects:
        return
    first: dict[str, tuple[str, Path]] = {}
    for path, rows in sources:
        for query, split in check.suspected(rows(), suspects):
            other, before = first.setdefault(normalise_query(query), (split, path))
            if other != split:
                places = f"{path}" if before == path else f"{before} and {path}"
                raise TrainingError(
                    f"{places}: query {query!r} stands in train and in test: the test would be void; move its rows "
                    'to one split, or leave the training ones out by `leaks = "drop"`'
                )


def tested_queries(folder: Path, data: Data) -> QueryHashes | None:
    """The keys of all sources' test queries, if a source wants its training rows of them dropped; else None.

    Raises:
        TrainingError: as `split_batches`.
    """
    if all(source.leaks == "refuse" for source in data.judgements):
        return None
    tested = QueryHashes()
    for source in data.judgements:
        for batch in split_batches(folder, source):
            queries = batch["query"].filter(pc.equal(batch["split"], TEST))
            tested.add(queries.unique().to_pylist())
    return tested


def distinct(batches: Iterable[pa.Table]) -> Iterator[tuple[str, str]]:
    """The (query, split) rows of batches, those repeated within a batch once."""
    for batch in batches:
        rows = batch.select(["query", "split"]).group_by(["query", "split"], use_threads=False).aggregate([])
        yield from zip(rows["query"].to_pylist(), rows["split"].to_pylist(), strict=True)
