"""Ranking quality of several models on the same test pairs, and how they differ, paired."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..config import Data
from ..config.evaluation import Evaluation
from ..data import JudgedPair
from ..evaluation.compare import compare
from ..evaluation.metrics import ModelScores, measure
from ..evaluation.sources import sources_of


def measure_models(
    pairs: Sequence[JudgedPair],
    data: Data,
    scores: Mapping[str, NDArray[np.float64]],
    references: Mapping[str, Sequence[str]],
    settings: Evaluation | None = None,
) -> list[dict[str, Any]]:
    """The figures of every model, and each model minus each reference model.

    Args:
        pairs: test pairs.
        data: says which figures its judgement sources ask for.
        scores: of each model, shape (pairs,).
        references: by model, the names of those to compare it with.
        settings: of bootstrap and significance.

    Returns:
        One entry per source and figure: `data`, `name`, `size`, and under `models` each model's `value`, `low`, `high`
        (95 % bootstrap interval) and `against`: reference -> `value`, `low`, `high`, `p` of the paired difference.
    """
    settings = settings or Evaluation()
    metrics: dict[tuple[str, str], dict[str, Any]] = {}
    for source in sources_of(pairs, data, "test"):
        own = {name: ModelScores(values).of(source) for name, values in scores.items()}
        for model, model_scores in own.items():
            for estimate in measure(source, model_scores, settings):
                entry = {"data": source.name, "name": estimate.name, "size": estimate.size, "models": {}}
                models = metrics.setdefault((source.name, estimate.name), entry)["models"]
                models[model] = {**_rounded(estimate), "against": {}}
            for other in references.get(model, ()):
                for difference in compare(source, model_scores, own[other], settings):
                    against = metrics[source.name, difference.name]["models"][model]["against"]
                    against[other] = {**_rounded(difference), "p": round(difference.p, 4)}
    return list(metrics.values())


def agreement(
    pairs: Sequence[JudgedPair], scores: Mapping[str, NDArray[np.float64]], reference: str
) -> dict[str, dict[str, float]]:
    """How much the other models order the products of a query as `reference` does.

    Returns:
        By source and model the mean of Kendall's tau-b (scipy) over the queries where it is defined: those with two
        products at least that neither model scores alike.
    """
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, pair in enumerate(pairs):
        rows_of[pair.source, pair.query].append(row)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for source in dict.fromkeys(source for source, _ in rows_of):
        lists = [np.asarray(rows) for (name, _), rows in rows_of.items() if name == source and len(rows) > 1]
        for model in scores:
            if model != reference and lists:
                taus = [stats.kendalltau(scores[model][rows], scores[reference][rows]).statistic for rows in lists]
                if np.isfinite(taus).any():
                    found[source][model] = round(float(np.nanmean(taus)), 4)
    return dict(found)


def _rounded(figure: Any) -> dict[str, float]:
    return {name: round(float(getattr(figure, name)), 5) for name in ("value", "low", "high")}
