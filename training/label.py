"""Labels candidate lists shard by shard: atomic, so that a kill loses at most one shard and doubles none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifact import Product

from .errors import TrainingError
from .mining import mined_shards
from .runs import Run
from .tables import CandidateList, read_shard, write_shard
from .teacher import fit_similarity, read_teacher, similarity_of

Labeller = Callable[[Sequence[tuple[str, Product]]], NDArray[np.float32]]


def label(run: Run) -> bool:
    """Labels what the student's stages ask for, by similarity and by the teacher.

    Returns:
        Whether there was anything to do.
    """
    todo = unlabelled(run)
    if not any(todo.values()):
        return False
    similarity = similarity_of(run)
    if todo.get("similarity"):
        label_shards(fit_similarity(run, similarity), todo["similarity"], run.labelled("similarity"), "similarity")
    if todo.get("teacher"):
        label_shards(read_teacher(run, similarity), todo["teacher"], run.labelled("teacher"), "teacher")
    return True


def unlabelled(run: Run) -> dict[str, list[Path]]:
    """The mined shards that the student's stages need and that are not labelled yet, by kind of labels.

    Raises:
        TrainingError: mining is not finished.
    """
    wanted: dict[str, int] = {}
    present = mined_shards(run)
    for stage in run.config.student.stages:
        lists = stage.max_lists
        needed = len(present) if lists is None else -(-lists // run.config.mining.lists_per_shard)
        wanted[stage.labels] = max(wanted.get(stage.labels, 0), min(needed, len(present)))
    return {
        labels: [path for path in present[:count] if not (run.labelled(labels) / path.name).exists()]
        for labels, count in wanted.items()
    }


def label_shards(labeller: Labeller, paths: Sequence[Path], folder: Path, name: str) -> None:
    """Writes each shard with logits to `folder` under its own name."""
    with tqdm(desc=f"label by {name}", unit="pair", mininterval=2, dynamic_ncols=True) as progress:
        for done, path in enumerate(paths):
            lists = read_shard(path)
            if done == 0:
                progress.reset(total=len(paths) * sum(len(entry.candidates) for entry in lists))
            write_shard(folder / path.name, label_lists(labeller, lists))
            progress.update(sum(len(entry.candidates) for entry in lists))


def label_lists(labeller: Labeller, lists: Sequence[CandidateList]) -> list[CandidateList]:
    """The same lists with a logit for every candidate.

    Raises:
        TrainingError: the labeller gave a logit that is not finite.
    """
    pairs = [(entry.query, candidate.product) for entry in lists for candidate in entry.candidates]
    logits = labeller(pairs)
    if not np.isfinite(logits).all():
        query, product = pairs[int(np.flatnonzero(~np.isfinite(logits))[0])]
        raise TrainingError(f"the labeller gave a logit that is not finite for {query!r} and {product.get('title')!r}")
    values = iter(logits.tolist())
    return [
        replace(entry, candidates=tuple(replace(candidate, logit=next(values)) for candidate in entry.candidates))
        for entry in lists
    ]
