"""Labels candidate lists: a pure function from table to table, and over it whole shards of a run.

A shard is written whole or not at all, under the name of the mined one, so that a kill loses at most one and doubles
none; the same command goes on with the shards that are missing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from artifact import PRODUCT_FIELDS, Product

from .errors import TrainingError
from .mining import mined_shards
from .runs import Run, read_json, replacing, write_json
from .tables import shards, sizes_in
from .teacher import fit_similarity, read_teacher, similarity_of
from .teacher.teacher import TeacherLabeller

Scorer = Callable[[Sequence[tuple[str, Product]]], NDArray[np.float32]]
"""Pairs of query and product -> a finite logit for each, shape (pairs,)."""

EngineFactory = Callable[[Run, TeacherLabeller], tuple[Scorer, dict[str, Any]]]
"""A run and its teacher -> how to score, and what `engine.json` says of it: at least its name as `engine`."""

ENGINE_FILE = "engine.json"
TORCH = "torch"
SCORED_TOGETHER = 2048
"""Pairs given to the scorer at once: enough to sort by length, few enough to show progress."""


def label(run: Run, engine: EngineFactory | None = None) -> bool:
    """Labels what the student's stages ask for, by similarity and by the teacher.

    Args:
        engine: computes the teacher's logits; torch if None.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: mining or the teacher is not finished, a shard is damaged, or the teacher's labels were begun
            by another engine.
    """
    todo = unlabelled(run)
    if not any(todo.values()):
        return False
    similarity = similarity_of(run)
    if todo.get("similarity"):
        label_shards(fit_similarity(run, similarity), todo["similarity"], run.labelled("similarity"), "similarity")
    if todo.get("teacher"):
        scorer, record = (engine or _by_torch)(run, read_teacher(run, similarity))
        folder = run.labelled("teacher")
        if not (folder / ENGINE_FILE).exists():
            write_json(folder / ENGINE_FILE, record)
        label_shards(scorer, todo["teacher"], folder, f"teacher ({record['engine']})")
    return True


def unlabelled(run: Run) -> dict[str, list[Path]]:
    """The mined shards that the student's stages need and that are not labelled yet, by kind of labels.

    Raises:
        TrainingError: mining is not finished.
    """
    return {
        labels: [path for path in paths if not (run.labelled(labels) / path.name).exists()]
        for labels, paths in needed_shards(run).items()
    }


def needed_shards(run: Run) -> dict[str, list[Path]]:
    """The mined shards that the student's stages need, by kind of labels; human ones need none.

    Raises:
        TrainingError: mining is not finished.
    """
    wanted: dict[str, int] = {}
    present = mined_shards(run)
    for stage in run.config.student.stages:
        if stage.labels != "human":
            needed = len(present)
            if stage.max_lists is not None:
                needed = _shards_with(present, stage.skip_lists + stage.max_lists)
            wanted[stage.labels] = max(wanted.get(stage.labels, 0), needed)
    return {labels: present[:count] for labels, count in wanted.items()}


def _shards_with(paths: Sequence[Path], lists: int) -> int:
    """How many of the first shards hold so many lists; all, if they hold fewer. A query with one candidate has none."""
    found = 0
    for number, path in enumerate(paths):
        if found >= lists:
            return number
        found += len(sizes_in(path))
    return len(paths)


def teacher_engine(run: Run) -> dict[str, Any] | None:
    """What labels by the teacher were begun with, None where there are none yet."""
    folder = run.labelled("teacher")
    if (folder / ENGINE_FILE).exists():
        return read_json(folder / ENGINE_FILE)
    return {"engine": TORCH} if shards(folder) else None


def label_shards(scorer: Scorer, paths: Sequence[Path], folder: Path, name: str) -> None:
    """Writes each shard with logits to `folder` under its own name, showing pairs per second and the time left.

    Shards that `folder` holds already are left as they are.

    Args:
        name: shown beside the progress bar.

    Raises:
        TrainingError: a shard is cut short or damaged, found before any is labelled; or as `label_table`.
        OSError: the disk is full: the shard at work is not there, those before it are whole.
    """
    sizes = {path: _count_rows(path) for path in paths if not (folder / path.name).exists()}
    with tqdm(
        total=sum(sizes.values()), desc=f"label by {name}", unit="pair", mininterval=2, dynamic_ncols=True
    ) as progress:

        def shown(pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float32]:
            logits = scorer(pairs)
            progress.update(len(pairs))
            return logits

        for path in sizes:
            table = _read(path)
            try:
                labelled = label_table(table, shown)
            except TrainingError as error:
                raise TrainingError(f"{path}: {error}") from error
            with replacing(folder / path.name) as new:
                pq.write_table(labelled, new)


def label_table(table: pa.Table, scorer: Scorer) -> pa.Table:
    """The same rows in the same order with the column `logit` filled; every other column is untouched.

    Pure: it depends on its arguments alone and changes nothing, so that an engine may map it over blocks of rows on
    other machines. The scorer must be picklable for that; those of `training.teacher` are.

    Args:
        table: candidate lists with the column `query` and product fields as of `tables.SCHEMA`; absent fields and nulls
            count as fields without text. `logit` is replaced where it stands, or added at the end.
        scorer: gives the logits, for at most 2,048 rows at a time.

    Raises:
        TrainingError: there is no column `query`, a row has no query, or a logit is missing or not finite.
    """
    if "query" not in table.column_names:
        raise TrainingError(f"expected a column query, found {', '.join(table.column_names) or 'none'}")
    parts = [
        _score(table.slice(start, SCORED_TOGETHER), start, scorer) for start in range(0, len(table), SCORED_TOGETHER)
    ]
    logits = pa.array(np.concatenate(parts) if parts else np.empty(0, np.float32), pa.float32())
    field = pa.field("logit", pa.float32())
    if "logit" in table.column_names:
        return table.set_column(table.column_names.index("logit"), field, logits)
    return table.append_column(field, logits)


def _score(rows: pa.Table, first: int, scorer: Scorer) -> NDArray[np.float32]:
    """The logits of some rows, of which `first` is the place of the first in its table."""
    fields = [field for field in PRODUCT_FIELDS if field in rows.column_names]
    pairs: list[tuple[str, Product]] = []
    for number, row in enumerate(rows.select(["query", *fields]).to_pylist(), first):
        if not row["query"]:
            raise TrainingError(f"row {number} has no query; mine its shard again")
        product: Product = {field: row[field] for field in fields if row[field]}
        pairs.append((row["query"], product))
    logits = np.asarray(scorer(pairs), np.float32)
    if logits.shape != (len(pairs),):
        raise TrainingError(f"expected {len(pairs)} logits from the labeller, got an array of shape {logits.shape}")
    if not np.isfinite(logits).all():
        place = int(np.flatnonzero(~np.isfinite(logits))[0])
        query, product = pairs[place]
        raise TrainingError(
            f"row {first + place}: the labeller gave a logit that is not finite for {query!r} and "
            f"{product.get('title')!r}; train the teacher again with a lower learning rate"
        )
    return logits


def _by_torch(run: Run, labeller: TeacherLabeller) -> tuple[Scorer, dict[str, Any]]:
    begun = teacher_engine(run)
    if begun is not None and begun["engine"] != TORCH:
        folder = run.labelled("teacher")
        raise TrainingError(
            f"{folder}: labels were begun by {begun['engine']}; go on with `python -m export label {run.folder}`, "
            "or delete that folder to label all of it by torch"
        )
    return labeller, {"engine": TORCH}


def _count_rows(path: Path) -> int:
    """From the end of the file, which is what a shard that was cut lacks."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{path}: damaged or cut short, expected a shard of candidate lists: {error}; delete it and run the stage that "
        "wrote it again"
    )
