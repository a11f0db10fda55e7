"""The grades that a teacher learns from, held in Arrow columns: the bytes of their texts, and no Python objects."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from artifact import PRODUCT_FIELDS

from ..data import JudgedPair, judged_batches
from ..data.schema import BATCH_ROWS
from ..errors import TrainingError
from ..parallel import processes
from ..runs import Run
from .similarity import Similarity

QueryProduct = tuple[str, dict[str, str]]

ENCODED_TOGETHER = 1024

_TEXTS = ("query", *PRODUCT_FIELDS, "source")
_SCHEMA = pa.schema([*((name, pa.large_string()) for name in _TEXTS), ("target", pa.float32())])


class Judged:
    """Judged pairs by row, in their order.

    Memory: a pair takes the bytes of its query and product, 9 for each product field that any pair has, and about 30.
    While they are read there is one column more, the largest. Measured: 200,000 pairs of about 70
    characters take 22 MB, with a peak of 62 MB while they are read, in 3.5 s on a core that others use too.

    Args:
        batches: tables with a column `query`, product fields, `source`, and `target`, as `PAIRS` has them; rows without
            a target are left out.
    """

    def __init__(self, batches: Iterable[pa.Table]) -> None:
        kept = [batch.filter(pc.is_valid(batch["target"])).select(_SCHEMA.names).cast(_SCHEMA) for batch in batches]
        table = pa.concat_tables(kept) if kept else _SCHEMA.empty_table()
        kept.clear()
        # rows are taken from one chunk in microseconds, from many in a second; column by column, not to hold all twice
        columns = {}
        for name in _SCHEMA.names:
            column = table[name]
            table = table.drop_columns(name)
            if name not in PRODUCT_FIELDS or column.null_count < len(column):
                columns[name] = column.combine_chunks()
        self.targets: NDArray[np.float32] = columns.pop("target").to_numpy().copy()  # torch wants to be able to write
        """Soft targets, shape (pairs,)."""
        self._table = pa.table(columns)
        self._fields = tuple(name for name in PRODUCT_FIELDS if name in columns)

    @classmethod
    def read(cls, run: Run) -> Self:
        """The judged pairs of the training split, then the weak ones where the configuration asks for them.

        Raises:
            TrainingError: there are none, or all have one target.
        """
        judged = cls(_batches(run))
        if not len(judged):
            raise TrainingError("the judgements have no pairs in the split train: nothing to fine-tune the teacher on")
        refuse_one_target(judged.targets, "judged training pairs")
        return judged

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def queries(self) -> pa.ChunkedArray:
        """The query of each pair, shape (pairs,)."""
        return self._table["query"]

    @property
    def sources(self) -> list[str]:
        """The names of the pairs' sources, each once, in order of appearance."""
        names: list[str] = pc.unique(self._table["source"]).to_pylist()
        return names

    def texts(self, rows: NDArray[np.int64] | Sequence[int]) -> list[QueryProduct]:
        """The (query, product) of rows, in the order of `rows`: a few at a time, for these are Python objects."""
        return self._pairs(self._table.take(pa.array(rows, pa.int64())))

    def parts(self, size: int) -> Iterator[list[QueryProduct]]:
        """The (query, product) of all pairs in order, in lists of `size`; the last may be shorter."""
        for start in range(0, len(self), size):
            yield self._pairs(self._table.slice(start, size))

    def _pairs(self, table: pa.Table) -> list[QueryProduct]:
        return [
            (row["query"], {field: text for field in self._fields if (text := row[field])})
            for row in table.select(["query", *self._fields]).to_pylist()
        ]


def refuse_one_target(targets: NDArray[np.float32], what: str) -> None:
    """Raises TrainingError if all targets, shape (n,), are the same."""
    if len(targets) and (targets == targets[0]).all():
        raise TrainingError(f"the {len(targets)} {what} all have the target {targets[0]:g}: nothing to learn")


def similarities(similarity: Similarity, judged: Judged) -> NDArray[np.float32]:
    """Similarity features of judged pairs, shape (pairs, 2), computed in parts to show progress."""
    parts = []
    with tqdm(
        total=len(judged),
        desc="encode judgements",
        unit="pair",
        mininterval=2,
        dynamic_ncols=True,
        disable=not processes().main,
    ) as progress:
        for part in judged.parts(ENCODED_TOGETHER):
            parts.append(similarity.features(part))
            progress.update(len(part))
    return np.concatenate(parts)


def _batches(run: Run) -> Iterator[pa.Table]:
    for batch in judged_batches(run, "train"):
        # to 6 digits, as the configuration's 0.333333 is meant and not as the nearest float32
        targets = pc.round(pc.cast(batch["target"], pa.float64()), 6)
        yield batch.set_column(batch.column_names.index("target"), "target", targets)
    if run.config.mining.weak_labels is not None:
        from ..mining import weak_pairs  # mining needs the teacher's similarity

        pairs = weak_pairs(run)
        while some := list(islice(pairs, BATCH_ROWS)):
            yield _table(some)


def _table(pairs: Sequence[JudgedPair]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "query": [pair.query for pair in pairs],
        **{field: [pair.product.get(field) for pair in pairs] for field in PRODUCT_FIELDS},
        "source": [pair.source for pair in pairs],
        "target": [pair.target for pair in pairs],
    }
    return pa.table(columns, schema=_SCHEMA)
