"""From a head of K outputs to one logit, in the graph and in torch.

K outputs are the logits z of K classes, each with a gain in [0, 1]: what a product of that class is worth. The expected
gain is e = sum over k of softmax(z)_k gain_k, and the one logit is log(e / (1 - e)), so that its sigmoid is e. Both
parts are computed as logarithms of sums, which neither overflow nor cancel:

    log(e / (1 - e)) = logsumexp(z + log gain) - logsumexp(z + log(1 - gain))

over the classes where the logarithm is finite. Two classes with gains 0 and 1 give z_1 - z_0.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import ExportError
from .graph import Floats, GraphWriter


def choose_gains(outputs: int, gains: Sequence[float] | None) -> tuple[float, ...]:
    """A gain for each output: those that are asked for, or evenly spaced from 0 to 1; none for one output.

    Raises:
        ExportError: there are not as many gains as outputs, or they tell no class from another.
    """
    if outputs == 1:
        if gains:
            raise ExportError("the model has one output, which is the logit: leave the gains out")
        return ()
    chosen = tuple(np.linspace(0, 1, outputs).tolist() if gains is None else gains)
    if len(chosen) != outputs:
        raise ExportError(f"expected {outputs} gains, one for each output in the order of id2label, got {len(chosen)}")
    if not all(0 <= gain <= 1 for gain in chosen):
        raise ExportError(f"expected gains from 0 to 1, got {_listed(chosen)}")
    if len(set(chosen)) == 1:
        raise ExportError(f"expected gains that tell the outputs apart, got {_listed(chosen)}")
    return chosen


def write_one_logit(graph: GraphWriter, logits: str, gains: Sequence[float], output: str) -> None:
    """Adds the nodes that make `output` (n, 1) of `logits` (n, K)."""
    sums: list[str] = []
    for name, (columns, logs) in zip(("gain", "loss"), _parts(gains), strict=True):
        taken = graph.op("Gather", logits, graph.constant(f"head.{name}.columns", columns), axis=1)
        shifted = graph.op("Add", taken, graph.constant(f"head.{name}.log", logs))
        sums.append(graph.op("ReduceLogSumExp", shifted, graph.integers(1), keepdims=1))
    graph.op("Sub", *sums, output=output)


def one_logit(logits: torch.Tensor, gains: Sequence[float]) -> torch.Tensor:
    """The same in torch: (n, K) -> (n,)."""
    if not gains:
        return logits[:, 0]
    high, low = (
        torch.logsumexp(logits[:, torch.from_numpy(columns)] + torch.from_numpy(logs), dim=1)
        for columns, logs in _parts(gains)
    )
    return high - low


def describe_gains(gains: Sequence[float], labels: Sequence[str]) -> str:
    """For people: which output counts how much."""
    return ", ".join(f"{label} {gain:g}" for label, gain in zip(labels, gains, strict=True))


def _parts(gains: Sequence[float]) -> tuple[tuple[NDArray[np.int64], Floats], ...]:
    """Columns and logarithms of the gains, then of what they lack of 1."""
    found = []
    for values in (np.array(gains), 1 - np.array(gains)):
        columns = np.flatnonzero(values > 0)
        found.append((columns.astype(np.int64), np.log(values[columns]).astype(np.float32)))
    return tuple(found)


def _listed(gains: Sequence[float]) -> str:
    return ", ".join(f"{gain:g}" for gain in gains)
