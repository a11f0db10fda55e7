"""Rows of a parquet file as columns of text, a batch at a time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TrainingError
from .schema import BATCH_ROWS
from .text_files import Batch, base_columns


def read_parquet_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    """The columns `names` of a parquet file as text; of a name `column:key` that is no column, the column of JSON.

    Raises:
        TrainingError: the file is missing, cut short or damaged, lacks a column, or a column is no text nor number.
    """
    try:
        # pre_buffer would hold whole row groups
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            columns = base_columns(path, names, file.schema_arrow.names)
            number, total = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                table = pa.table({name: _text(path, name, batch[name]) for name in columns})
                yield table, np.arange(number + 1, number + len(batch) + 1), min(1.0, (number + len(batch)) / total)
                number += len(batch)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; --data names the folder that holds it") from None
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: cut short or damaged, expected a whole parquet file: {error}") from error


def _text(path: Path, name: str, column: pa.Array) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        if binary:
            raise TrainingError(f"{path}: column {name} is not UTF-8; save it as UTF-8") from error
        raise
    except pa.ArrowNotImplementedError as error:
        raise TrainingError(f"{path}: expected text in column {name}, found {column.type}") from error
