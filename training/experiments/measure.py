"""Ranking quality of several models on the same test pairs, and how they differ, paired."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    references: Sequence[str],
    settings: Evaluation | None = None,
) -> list[dict[str, Any]]:
    """The figures of every model, and each model minus each reference model.

    Args:
        pairs: test pairs.
        data: says which figures its judgement sources ask for.
        scores: of each model, shape (pairs,).
        references: names of models to compare with, those that are there.
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
            for other in references:
                if other in own and other != model:
                    for difference in compare(source, model_scores, own[other], settings):
                        against = metrics[source.name, difference.name]["models"][model]["against"]
                        against[other] = {**_rounded(difference), "p": round(difference.p, 4)}
    return list(metrics.values())


def _rounded(figure: Any) -> dict[str, float]:
    return {name: round(float(getattr(figure, name)), 5) for name in ("value", "low", "high")}
