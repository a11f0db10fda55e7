"""How far the noise of human judgements lets a model go: each rater, ranked against the mean of the others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import Judgements
from ..config.evaluation import Evaluation
from ..data import split_of
from ..data.formats import read_batches
from ..errors import TrainingError
from .bootstrap import mean_interval
from .groups import Groups, group
from .metrics import Estimate
from .ranking import ndcg_by_query


def rater_ceiling(
    queries: Groups, gains: NDArray[np.float64], names: Sequence[str], data: str, split: str, settings: Evaluation
) -> list[Estimate]:
    """nDCG@k of each rater as if a model, where a product is worth the mean gain that the other raters gave it.

    The last estimate is the mean over the raters. One rater is noisier than the agreed grade, so a model can pass these
    figures against that grade; they say how little a small difference between models means.

    Args:
        queries: the query of each pair.
        gains: of each pair by each rater, shape (pairs, raters); NaN where a rater gave no grade.
        names: of the raters, shape (raters,).

    Returns:
        One estimate a rater, then the mean; empty where no query has differing gains.
    """
    columns = np.full((gains.shape[1], len(queries)), np.nan)
    for rater, column in enumerate(columns):
        others = np.delete(gains, rater, axis=1)
        rows = np.isfinite(gains[:, rater]) & np.isfinite(others).any(axis=1)
        if rows.any():
            own = queries.subset(rows)
            column[own.parents] = ndcg_by_query(
                own.groups, gains[rows, rater], np.nanmean(others[rows], axis=1), settings.depth
            )
    rated = np.isfinite(columns)
    mean = np.full(len(queries), np.nan)
    np.divide(np.where(rated, columns, 0).sum(axis=0), rated.sum(axis=0), out=mean, where=rated.any(axis=0))
    estimates = []
    for name, column in zip((*names, "the mean rater"), [*columns, mean], strict=True):
        own = column[np.isfinite(column)]
        if len(own):
            low, high = mean_interval(own, settings.resamples, settings.seed)
            label = f"nDCG@{settings.depth} of {name}"
            estimates.append(Estimate(label, float(own.mean()), low, high, data, split, len(own)))
    return estimates


def read_rater_ceiling(
    folder: Path, source: Judgements, columns: Sequence[str], split: str, settings: Evaluation
) -> list[Estimate]:
    """`rater_ceiling` of a judgement file that has a column a rater.

    Raises:
        TrainingError: the source names no gains, the file lacks a column, or a rater's grade is not on the scale.
    """
    if source.ndcg_gains is None:
        raise TrainingError(f"evaluation.raters: judgements {source.name} name no ndcg_gains to compare raters by")
    wanted = [source.query, *columns, *([source.split] if source.split else [])]
    queries: list[str] = []
    gains: list[list[float]] = []
    read = read_batches(folder / source.file, wanted, needed=wanted, where=source.filters, delimiter=source.delimiter)
    for rows in read:
        for number, row in enumerate(rows.table.to_pylist()):
            query = row[source.query] or ""
            if (row[source.split] if source.split else split_of(query, source.test_share)) == split:
                queries.append(query)
                gains.append([_gain(rows.place(number), row, column, source.ndcg_gains) for column in columns])
    if not queries:
        return []
    return rater_ceiling(group(queries), np.asarray(gains), columns, source.name, split, settings)


def _gain(place: str, row: Mapping[str, str | None], column: str, gains: Mapping[str, float]) -> float:
    grade = row[column]
    if grade is None:
        return float("nan")
    if grade not in gains:
        raise TrainingError(f"{place}: {column}: grade {grade!r} is not one of {list(gains)}")
    return gains[grade]
