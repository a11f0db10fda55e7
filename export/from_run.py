"""Exports the student of a training run, with the run's own data for ranges, calibration and evaluation."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from artifact import Manifest, Product
from training.data import JudgedPair, judged_pairs
from training.errors import TrainingError
from training.evaluation import evaluate
from training.evaluation.metrics import Estimate
from training.lineage import lineage
from training.runs import Run, read_run
from training.student import read_student_template
from training.tables import Candidate, list_sizes, read_lists
from training.teacher import Judged

from .attention import Spelling
from .compile import Say
from .errors import ExportError
from .evaluation import ScoringFunction
from .faithful import MIN_PAIRS
from .pipeline import export_student
from .plan import VARIANTS, StudentExport
from .runtime import Pair

CALIBRATION_PAIRS = 4000
DEV_PAIRS = 20_000
"""Enough for the two numbers of a Platt calibration."""


def export_run(
    folder: Path,
    data: Path,
    out: Path,
    name: str,
    variants: Sequence[str] = VARIANTS,
    attention: Spelling | None = None,
    say: Say | None = None,
) -> Manifest:
    """Exports a finished run.

    Args:
        folder: the run.
        data: folder of the data files that the run was made from.
        out: the artifact folder to write.
        name: the model's name in the manifest.
        variants: which files go into the artifact.
        attention: its spelling. None: the faster one here.

    Raises:
        ExportError: the run is not finished, its data cannot be read, or as `export_student`.
    """
    try:
        run = read_run(folder, data)
        judged = list(judged_pairs(run, "test"))
        known = Judged.read(run)
        plan = StudentExport(
            checkpoint=run.student,
            name=name,
            template=read_student_template(run),
            lineage=lineage(run),
            calibration_pairs=unlabelled_sample(run, CALIBRATION_PAIRS),
            calibration_data="mined training pairs",
            lists=labelled_lists(run, MIN_PAIRS),
            dev_pairs=_dev_pairs(known, run.config.seed),
            dev_data=f"{', '.join(known.sources)}: grades of the training split",
            evaluate=lambda score: _evaluate(run, judged, score),
            variants=variants,
            attention=attention,
        )
    except TrainingError as error:
        raise ExportError(str(error)) from error
    return export_student(plan, out, say)


def unlabelled_sample(run: Run, size: int) -> list[Pair]:
    """An even spread of at most `size` of the pairs that the student learned from, in a random order."""
    last = run.config.student.stages[-1].labels
    folder = run.labelled(last)
    picked = np.random.default_rng(run.config.seed).permutation(int(list_sizes(folder).sum()))[:size].tolist()
    wanted = set(picked)
    pairs = ((entry.query, candidate.product) for entry in read_lists(folder) for candidate in entry.candidates)
    found: dict[int, Pair] = {row: pair for row, pair in enumerate(pairs) if row in wanted}
    return [found[row] for row in picked]


def labelled_lists(run: Run, pairs: int) -> list[tuple[list[Pair], list[float]]]:
    """Whole lists with at least `pairs` pairs in all, or all lists: an even spread, in their order.

    Returns:
        Of each list its pairs, and their labels: the teacher's probabilities, or people's soft targets.
    """
    folder = run.labelled(run.config.student.stages[-1].labels)
    sizes = list_sizes(folder)
    needed = min(len(sizes), -(-pairs * len(sizes) // max(1, int(sizes.sum()))) + 1)
    wanted = set(np.linspace(0, len(sizes) - 1, needed).astype(int).tolist())
    picked = (entry for row, entry in enumerate(read_lists(folder)) if row in wanted)
    return [
        (
            [(entry.query, candidate.product) for candidate in entry.candidates],
            [_label(candidate) for candidate in entry.candidates],
        )
        for entry in picked
    ]


def _label(candidate: Candidate) -> float:
    if candidate.logit is not None:
        return 1 / (1 + math.exp(-candidate.logit))
    return candidate.target or 0.0


def _dev_pairs(known: Judged, seed: int) -> list[tuple[str, Product, float]]:
    """All judged pairs in their order, or `DEV_PAIRS` of them."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(known))[:DEV_PAIRS])
    targets = known.targets[rows].astype(np.float64).round(6).tolist()
    return [(query, product, target) for (query, product), target in zip(known.texts(rows), targets, strict=True)]


def _evaluate(run: Run, judged: Sequence[JudgedPair], score: ScoringFunction) -> list[Estimate]:
    estimates: list[Estimate] = evaluate(score, judged, run.config.data, "test")
    return estimates
