"""The shards of a mining run: which are there, whether they are whole, and whether they are all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TrainingError
from ..runs import Run, read_json, write_json
from ..tables import SCHEMA, shards

DONE_FILE = "done.json"


def shard_path(run: Run, number: int) -> Path:
    """Where the shard of a number lies."""
    return run.mined / f"{number:05d}.parquet"


def is_finished(run: Run) -> bool:
    """Whether mining is finished and none of its shards is gone."""
    return (run.mined / DONE_FILE).exists() and len(shards(run.mined)) == _expected(run)


def finish(run: Run, queries: int, pairs: int) -> None:
    """Notes that all shards are there."""
    write_json(run.mined / DONE_FILE, {"queries": queries, "pairs": pairs})


def mined_shards(run: Run) -> list[Path]:
    """The shards of the finished mining.

    Raises:
        TrainingError: it is not finished, or shards of it are gone.
    """
    if not is_finished(run):
        raise TrainingError(f"{run.folder}: has not all mined lists; run the stage `mine` first")
    return shards(run.mined)


def rows_of(path: Path) -> int:
    """How many rows a shard holds, by its footer alone.

    Raises:
        TrainingError: it is damaged, or no shard of candidate lists.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns, rows = file.schema_arrow.names, int(file.metadata.num_rows)
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: is damaged: {error}; delete it and run the stage `mine` again") from error
    if columns != SCHEMA.names:
        raise TrainingError(
            f"{path}: expected a shard with the columns {SCHEMA.names}, found {columns}; "
            "delete it and run the stage `mine` again"
        )
    return rows


def _expected(run: Run) -> int:
    queries: int = read_json(run.mined / DONE_FILE)["queries"]
    return -(-queries // run.config.mining.lists_per_shard)
