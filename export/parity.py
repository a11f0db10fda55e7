"""The checks that stop an export: operators, agreement with torch, independence of neighbours."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .attention import Spelling
from .checkpoint import Checkpoint
from .errors import ExportError
from .runtime import EncodedPairs, Run

Precision = Literal["fp32", "int8"]

TOLERANCE = 1e-4
"""Largest difference of two logits that must be the same."""

BATCH = 1000
TORCH_BATCH = 32


@dataclass(frozen=True, slots=True)
class Independence:
    """Largest difference of a pair's logit from the one it gets alone, by what it was batched with."""

    pairs: int
    micro_batches: float
    one_batch: float
    beside_longest: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.micro_batches, self.one_batch, self.beside_longest)


def check_operators(
    found: Counter[str], layers: int, precision: Precision, spelling: Spelling, kept: Collection[str] = ()
) -> None:
    """Refuses an optimised graph in which a fusion is missing, or a slow or batch-dependent operator stands.

    Args:
        kept: tags of the operands that an int8 graph multiplies in fp32.

    Raises:
        ExportError: naming the operators.
    """
    fused, int8 = spelling == "fused", precision == "int8"
    products = 6 * layers if fused else 4 * layers + 1  # the last layer's queries are a product of their own
    separate = 0 if fused else layers
    integers = products - sum(_products_of(tag, layers, fused) for tag in kept) if int8 else 0
    expected = {
        "MatMulIntegerToFloat": integers,
        "QuantizeLinear": 4 * layers - len(kept) if int8 else 0,
        "DequantizeLinear": 0,
        "DynamicQuantizeLinear": 0,
        "DynamicQuantizeMatMul": 0,
        "Gemm": products - integers + 1,
        "FusedGemm": 1,
        "Attention": layers - separate,
        "FusedMatMul": separate,
        "MatMul": separate,
        "Softmax": separate,
        "Gelu": layers,
        "Erf": 0,
        "LayerNormalization": 2 * layers + 1,
        "SkipLayerNormalization": 0,
        "BiasGelu": 0,
    }
    wrong = [f"{found[kind]} {kind} where {n} were expected" for kind, n in expected.items() if found[kind] != n]
    if wrong:
        raise ExportError(
            f"the optimised {precision} graph has {'; '.join(wrong)}: "
            "another version of ONNX Runtime? export with the one that constraints name"
        )


def _products_of(tag: str, layers: int, fused: bool) -> int:
    """How many products read an operand: those for queries, keys and values are one or several."""
    layer, _, part = tag.partition(".")
    if part != "in":
        return 1
    if fused:
        return 3
    return 2 if int(layer) == layers - 1 else 1


def check_against_torch(checkpoint: Checkpoint, run: Run, pairs: EncodedPairs) -> float:
    """The largest |ONNX logit - torch logit| over the pairs.

    Raises:
        ExportError: it is over 1e-4, or a logit is not finite.
    """
    groups = pairs.micro_batches(TORCH_BATCH)
    expected = pairs.logits(lambda feeds: checkpoint.logits(feeds), groups)
    found = pairs.logits(run, groups)
    worst = _worst(found, expected)
    if not worst <= TOLERANCE:
        raise ExportError(
            f"fp32 ONNX and torch differ by {worst:.2g} in a logit; at most {TOLERANCE:g} is allowed: "
            "the graph does not compute this model, do not serve it"
        )
    return worst


def check_independence(run: Run, pairs: EncodedPairs, variant: str) -> Independence:
    """Measures independence.

    Raises:
        ExportError: a logit moves by more than 1e-4.
    """
    found = measure_independence(run, pairs)
    if not found.worst <= TOLERANCE:
        raise ExportError(
            f"{variant}: a pair's logit moves by {found.worst:.2g} with what it is batched with "
            f"(micro-batches {found.micro_batches:.2g}, one batch of {found.pairs} {found.one_batch:.2g}, beside the "
            f"longest {found.beside_longest:.2g}); at most {TOLERANCE:g} is allowed"
        )
    return found


def measure_independence(run: Run, pairs: EncodedPairs) -> Independence:
    """Compares each of up to 1,000 pairs alone, in micro-batches, all in one batch, and beside the longest of all."""
    longest = int(np.argmax(pairs.lengths))
    rows = list(range(min(len(pairs), BATCH)))
    rows[-1] = max(longest, rows[-1])
    alone = pairs.logits(run, [[row] for row in rows])
    micro = pairs.logits(run)
    together = pairs.logits(run, [rows])
    beside = np.array([run(pairs.feeds((row, longest)))[0] for row in rows])
    return Independence(
        len(rows), _worst(micro[rows], alone[rows]), _worst(together[rows], alone[rows]), _worst(beside, alone[rows])
    )


def _worst(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """NaN where either holds one, so that no comparison passes by accident."""
    return float(np.abs(found - expected).max())
