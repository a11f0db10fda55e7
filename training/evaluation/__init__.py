"""Evaluation: metrics with intervals, of checkpoints and of served models."""

from .evaluate import Scorer, evaluate, word_overlap
from .metrics import Estimate
from .served import ServedScorer

__all__ = ["Estimate", "Scorer", "ServedScorer", "evaluate", "word_overlap"]
