"""Temperature calibration on dev pairs: a teacher whose probabilities hold teaches better."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from ..losses import soft_target_loss
from .head import Head

LIMITS = (1 / 20, 20.0)
BINS = 10


@dataclass(frozen=True, slots=True)
class Fitness:
    """How well outputs fit soft targets: mean negative log-likelihood of the head, of relevance, calibration error."""

    nll: float
    relevance_nll: float
    ece: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def fit_temperature(outputs: Tensor, targets: Tensor, head: Head) -> float:
    """The T in LIMITS for which outputs / T have the lowest loss; 1 where all targets are alike and tell nothing.

    Args:
        outputs: of dev pairs, shape (pairs, head.size).
        targets: soft targets, shape (pairs,).
        head: says what the outputs mean.

    Reference:
        Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    if len(targets.unique()) < 2:
        return 1.0

    def loss(log_temperature: float) -> float:
        return float(head.loss(outputs.double() / math.exp(log_temperature), targets.double()))

    found = minimize_scalar(loss, bounds=(math.log(LIMITS[0]), math.log(LIMITS[1])), method="bounded")
    return float(math.exp(found.x)) if found.fun < loss(0.0) else 1.0


def fitness(outputs: Tensor, targets: Tensor, head: Head) -> Fitness:
    """How well outputs, shape (pairs, head.size), fit soft targets, shape (pairs,)."""
    logits = head.logit(outputs)
    return Fitness(
        nll=float(head.loss(outputs, targets)),
        relevance_nll=float(soft_target_loss(logits, targets)),
        ece=expected_calibration_error(torch.sigmoid(logits).numpy(), targets.numpy()),
    )


def expected_calibration_error(
    probabilities: NDArray[np.float32], targets: NDArray[np.float32], bins: int = BINS
) -> float:
    """Mean over pairs of |mean probability - mean target| of the pair's bin; bins are of equal width.

    Reference:
        Naeini et al., AAAI 2015; the target may be soft.
    """
    bin_of = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=probabilities.astype(np.float64) - targets, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))
