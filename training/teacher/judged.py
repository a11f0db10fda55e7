"""The human grades that a teacher learns from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data import JudgedPair, judged_pairs
from ..errors import TrainingError
from ..parallel import processes
from ..runs import Run
from .similarity import Similarity

ENCODED_TOGETHER = 1024


def human_pairs(run: Run) -> list[JudgedPair]:
    """The judged pairs of the training split, and the weak ones from attributes if the configuration asks for them.

    Raises:
        TrainingError: there are none, or all have one target.
    """
    pairs = list(judged_pairs(run, "train"))
    if run.config.mining.weak_labels is not None:
        from ..mining import weak_pairs  # mining needs the teacher's similarity

        pairs += weak_pairs(run)
    if not pairs:
        raise TrainingError("the judgements have no pairs in the split train: nothing to fine-tune the teacher on")
    refuse_one_target(pairs, "judged training pairs")
    return pairs


def refuse_one_target(pairs: Sequence[JudgedPair], what: str) -> None:
    """Raises TrainingError if all targets are the same."""
    if len({pair.target for pair in pairs}) == 1:
        raise TrainingError(f"the {len(pairs)} {what} all have the target {pairs[0].target:g}: nothing to learn")


def targets(pairs: Sequence[JudgedPair]) -> NDArray[np.float32]:
    """Soft targets, shape (n,)."""
    return np.asarray([pair.target for pair in pairs], np.float32)


def similarities(similarity: Similarity, pairs: Sequence[JudgedPair]) -> NDArray[np.float32]:
    """Similarity features of judged pairs, shape (n, 2), computed in parts to show progress."""
    parts = []
    with tqdm(
        total=len(pairs),
        desc="encode judgements",
        unit="pair",
        mininterval=2,
        dynamic_ncols=True,
        disable=not processes().main,
    ) as progress:
        for start in range(0, len(pairs), ENCODED_TOGETHER):
            part = [(pair.query, pair.product) for pair in pairs[start : start + ENCODED_TOGETHER]]
            parts.append(similarity.features(part))
            progress.update(len(part))
    return np.concatenate(parts)
