"""The checks that stop an export: operators, agreement with torch, independence of neighbours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .attention import Spelling
from .errors import ExportError
from .graph import Floats
from .runtime import Encoded, Feeds, Run

Precision = Literal["fp32", "int8"]

TOLERANCE = 1e-4
"""Largest difference of two logits that must be the same."""

BATCH = 1000
LARGEST_GROUP = 32
TORCH_BATCH = 32


class TorchModel(Protocol):
    """What defines the right answer."""

    def logits(self, feeds: Feeds) -> Floats:
        """Feeds of shape (n, length) -> logits (n,)."""


@dataclass(frozen=True, slots=True)
class Independence:
    """Largest difference of a pair's logit from the one it gets alone, by what it was batched with."""

    pairs: int
    micro_batches: float
    one_batch: float
    beside_longest: float
    random_neighbours: float

    @property
    def worst(self) -> float:
        """The largest of them; NaN if one is."""
        return float(np.max((self.micro_batches, self.one_batch, self.beside_longest, self.random_neighbours)))


def check_operators(
    found: Counter[str],
    layers: int,
    precision: Precision,
    spelling: Spelling,
    more: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Refuses an optimised graph in which a fusion is missing, or a slow or batch-dependent operator stands.

    Args:
        more: operators that the family has beyond BERT's, or that an int8 graph multiplies in fp32; negative: fewer.

    Raises:
        ExportError: naming the operators.
    """
    fused, int8 = spelling == "fused", precision == "int8"
    products = 6 * layers if fused else 4 * layers + 1  # the last layer's queries are a product of their own
    separate = 0 if fused else layers
    expected = {
        "MatMulIntegerToFloat": products if int8 else 0,
        "QuantizeLinear": 4 * layers if int8 else 0,
        "DequantizeLinear": 0,
        "DynamicQuantizeLinear": 0,
        "DynamicQuantizeMatMul": 0,
        "Gemm": 1 if int8 else products + 1,
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
    compare_operators(found, {kind: n + more.get(kind, 0) for kind, n in expected.items()}, precision)


def check_products(found: Counter[str], products: int, operands: int, precision: Precision) -> None:
    """The same of a traced graph, of which only the products with constant weights are known beforehand.

    Raises:
        ExportError: naming the operators.
    """
    int8 = precision == "int8"
    expected = {
        "MatMulIntegerToFloat": products if int8 else 0,
        "QuantizeLinear": operands if int8 else 0,
        "DequantizeLinear": 0,
        "DynamicQuantizeLinear": 0,
        "DynamicQuantizeMatMul": 0,
        "Erf": 0,
        "SkipLayerNormalization": 0,
        "BiasGelu": 0,
    }
    compare_operators(found, expected, precision)


def compare_operators(found: Counter[str], expected: Mapping[str, int], precision: str) -> None:
    """Refuses a graph, `precision` in words, in which an operator stands more or less often than expected.

    Raises:
        ExportError: naming the operators.
    """
    wrong = [f"{found[kind]} {kind} where {n} were expected" for kind, n in expected.items() if found[kind] != n]
    if wrong:
        raise ExportError(
            f"the optimised {precision} graph has {'; '.join(wrong)}: "
            "another version of ONNX Runtime? export with the one that constraints name"
        )


def check_against_torch(checkpoint: TorchModel, run: Run, pairs: Encoded) -> float:
    """The largest |ONNX logit - torch logit| over the pairs.

    Raises:
        ExportError: it is over 1e-4, or a logit is not finite.
    """
    groups = pairs.micro_batches(TORCH_BATCH)
    expected = pairs.logits(checkpoint.logits, groups)
    found = pairs.logits(run, groups)
    worst = _worst(found, expected)
    if not worst <= TOLERANCE:
        raise ExportError(
            f"fp32 ONNX and torch differ by {worst:.2g} in a logit; at most {TOLERANCE:g} is allowed: "
            "the graph does not compute this model, do not serve it"
        )
    return worst


def check_independence(run: Run, pairs: Encoded, variant: str, seed: int = 0) -> Independence:
    """As `measure_independence`.

    Raises:
        ExportError: a logit moves by more than 1e-4.
    """
    found = measure_independence(run, pairs, seed)
    if not found.worst <= TOLERANCE:
        raise ExportError(
            f"{variant}: a pair's logit moves by {found.worst:.2g} with what it is batched with "
            f"(micro-batches {found.micro_batches:.2g}, one batch of {found.pairs} {found.one_batch:.2g}, beside the "
            f"longest {found.beside_longest:.2g}, random neighbours {found.random_neighbours:.2g}); "
            f"at most {TOLERANCE:g} is allowed"
        )
    return found


def measure_independence(run: Run, pairs: Encoded, seed: int = 0) -> Independence:
    """Compares each of up to 1,000 pairs alone, in micro-batches, all in one batch, beside the longest and others.

    Args:
        seed: of the random neighbours, 1 to 31 of them.
    """
    longest = int(np.argmax(pairs.lengths))
    rows = list(range(min(len(pairs), BATCH)))
    rows[-1] = max(longest, rows[-1])
    alone = pairs.logits(run, [[row] for row in rows])
    micro = pairs.logits(run)
    together = pairs.logits(run, [rows])
    beside = np.array([run(pairs.feeds((row, longest)))[0] for row in rows])
    mixed = pairs.logits(run, _random_groups(rows, seed))
    return Independence(
        len(rows),
        _worst(micro[rows], alone[rows]),
        _worst(together[rows], alone[rows]),
        _worst(beside, alone[rows]),
        _worst(mixed[rows], alone[rows]),
    )


def _random_groups(rows: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """The rows in random order, cut into groups of 2 to `LARGEST_GROUP`; the last holds what is left."""
    random = np.random.default_rng(seed)
    order = random.permutation(rows)
    ends = np.cumsum(random.integers(2, LARGEST_GROUP + 1, size=len(rows)))
    return np.split(order, ends[ends < len(rows)])


def _worst(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """NaN where either holds one, so that no comparison passes by accident."""
    return float(np.abs(found - expected).max())
