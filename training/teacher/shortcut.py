"""The similarity shortcut: where a linear layer over cosine and MaxSim starts."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .head import Head
from .similarity import FEATURES, fit_logistic

RIDGE = 1e-3


def fit_shortcut(features: NDArray[np.float32], targets: NDArray[np.float32], head: Head) -> nn.Linear:
    """The linear layer, features to outputs, that is best by the head's loss.

    Args:
        features: similarities of pairs, shape (pairs, 2).
        targets: soft targets, shape (pairs,).
        head: says what the outputs mean.
    """
    layer = nn.Linear(FEATURES, head.size)
    if head.levels is None:
        row, bias = fit_logistic(features, targets)
        weights, biases = torch.tensor([row]), torch.tensor([bias])
    else:
        weights, biases = _fit(features, targets, head)
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(biases)
    return layer


def _fit(features: NDArray[np.float32], targets: NDArray[np.float32], head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    """By L-BFGS on standardised features with a small ridge."""
    mean, spread = torch.from_numpy(features.mean(0)), torch.from_numpy(features.std(0) + 1e-6)
    x, y = (torch.from_numpy(features) - mean) / spread, torch.from_numpy(targets)
    layer = nn.Linear(FEATURES, head.size)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = head.loss(layer(x), y) + RIDGE * (layer.weight.square().sum() + layer.bias.square().sum())
        loss.backward()
        return loss

    optimiser.step(closure)
    weights = layer.weight.detach() / spread
    return weights, layer.bias.detach() - weights @ mean
