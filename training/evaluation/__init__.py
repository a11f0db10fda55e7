"""Evaluation: metrics with intervals, paired comparisons and a report, of checkpoints and of served models."""

from .compare import Difference, compare
from .evaluate import Scorer, evaluate, word_overlap
from .metrics import Estimate, ModelScores, measure
from .served import ServedScorer

__all__ = [
    "Difference",
    "Estimate",
    "ModelScores",
    "Scorer",
    "ServedScorer",
    "compare",
    "evaluate",
    "measure",
    "word_overlap",
]
