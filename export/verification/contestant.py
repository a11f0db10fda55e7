"""One side of a comparison: an artifact, one of its variants, and that variant's scores and times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, ArtifactError, InputTemplate, Metric, Variant, load_artifact
from training.evaluation.auc import auc
from training.evaluation.calibration import expected_calibration_error
from training.evaluation.ranking import ndcg

from ..errors import ExportError
from ..evaluation import ScoringFunction
from ..runtime import EncodedPairs, Pair, logits_of, open_session, run_all, scorer
from ..split.runtime import SplitModel, SplitPairs, split_scorer
from .pairs import rows_by_query

RELEVANT = 0.5
DEPTH = 10
SERVED_FIRST = ("int8", "fp32")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A variant that is loaded and verified."""

    artifact: Artifact
    variant: Variant
    logits: ScoringFunction
    """Of text pairs, shape (n,)."""
    online: Callable[[Sequence[Pair]], Callable[[], object]]
    """What is left to do for pairs when they are tokenised and, in a split model, their products' states are known."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the manifest says was measured of the variant."""
        return tuple(metric for metric in self.artifact.manifest.evaluation if metric.variant == self.variant.name)

    def scores(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated, in [0, 1]."""
        return self.artifact.manifest.calibration.scores(logits)

    def judged(self, pairs: Sequence[Pair], targets: Sequence[float]) -> dict[str, float]:
        """nDCG@10 with the targets as gains, AUC of targets from 0.5 on, and ECE; without those that have no value."""
        logits, wanted = self.logits(pairs), np.array(targets)
        gains = [ndcg(logits[rows], wanted[rows], DEPTH) for rows in rows_by_query(pairs) if np.ptp(wanted[rows]) > 0]
        found = {
            f"nDCG@{DEPTH}": float(np.mean(gains)) if gains else float("nan"),
            f"AUC of targets >= {RELEVANT:g}": auc(logits[wanted >= RELEVANT], logits[wanted < RELEVANT]),
            "ECE": expected_calibration_error(self.scores(logits), wanted),
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}


def read_contestant(text: str) -> Contestant:
    """Loads FOLDER, with the variant that the service would take on a CPU, or FOLDER:VARIANT.

    Raises:
        ArtifactError: the artifact is refused, or lacks the variant.
        ExportError: the variant does not run here.
    """
    folder, _, name = (text, "", "") if Path(text).is_dir() else text.rpartition(":")
    if not folder:
        folder, name = text, ""
    artifact = load_artifact(Path(folder))
    variant = _named(artifact, name) if name else _served(artifact)
    if variant.device != "cpu":
        raise ExportError(f"{folder}: {variant.name} needs a GPU; compare variants of the CPU")
    return _split(artifact, variant) if variant.states is not None else _cross_encoder(artifact, variant)


def _cross_encoder(artifact: Artifact, variant: Variant) -> Contestant:
    run = logits_of(open_session((artifact.folder / variant.file).read_bytes()))

    def online(pairs: Sequence[Pair]) -> Callable[[], object]:
        encoded = EncodedPairs(artifact.tokenizer, pairs)
        return partial(run_all, run, [encoded.feeds(rows) for rows in encoded.micro_batches()])

    return Contestant(artifact, variant, scorer(run, artifact.tokenizer), online)


def _split(artifact: Artifact, variant: Variant) -> Contestant:
    model = SplitModel.read(artifact.folder, variant)

    def online(pairs: Sequence[Pair]) -> Callable[[], object]:
        return SplitPairs(artifact.tokenizer, pairs).online(model)

    return Contestant(artifact, variant, split_scorer(model, artifact.tokenizer), online)


def describe(template: InputTemplate) -> str:
    """A template in one line."""
    fields = ", ".join(f"{field.name} {field.max_tokens}" for field in template.fields)
    return f"query {template.max_query_tokens}, {fields}; {template.max_tokens} tokens in all"


def _named(artifact: Artifact, name: str) -> Variant:
    variant = artifact.manifest.variant(name)
    if variant is None:
        present = ", ".join(each.name for each in artifact.manifest.variants)
        raise ArtifactError(artifact.folder, f"expected a variant {name!r}; it has {present}")
    return variant


def _served(artifact: Artifact) -> Variant:
    for precision in SERVED_FIRST:
        for variant in artifact.manifest.variants:
            if (variant.device, variant.precision) == ("cpu", precision):
                return variant
    raise ExportError(f"{artifact.folder}: expected a variant of the CPU, found none: the others need a GPU")
