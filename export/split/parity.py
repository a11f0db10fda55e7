"""The checks that stop the export of a split student: operators, agreement with torch, independence of neighbours."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from artifact import PairTokenizer
from artifact.product_states import ProductState
from training.split import SplitStudent

from ..errors import ExportError
from ..graph import Floats
from ..parity import TOLERANCE, Independence, compare_operators, measure_independence
from ..runtime import Encoded, Feeds, Pair, Rows, optimised_operators
from .checkpoint import Part
from .runtime import SplitModel, SplitPairs, Texts, gathered

AS_WRITTEN = (
    "MatMulIntegerToFloat",
    "QuantizeLinear",
    "DequantizeLinear",
    "Attention",
    "Gelu",
    "LayerNormalization",
    "Softmax",
)
"""Operators that the optimiser must leave as they are."""

SLOW_OR_DYNAMIC = (
    "Erf",
    "BiasGelu",
    "SkipLayerNormalization",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
)
"""Operators that it must not make."""

QUERIES = 8
FRESH = 256
"""Products that are encoded in every grouping."""


@dataclass(frozen=True, slots=True)
class SplitIndependence:
    """How far a pair's logit moves with what stands beside it.

    Attributes:
        joined: products of stored states beside each other, the largest over several queries.
        encoded: products encoded beside each other, where the logit is of one query.
        stored: states kept and read back, against those just computed.
    """

    queries: int
    joined: Independence
    encoded: Independence
    stored: float

    @property
    def worst(self) -> float:
        """The largest of them; NaN if one is."""
        return float(np.max((self.joined.worst, self.encoded.worst, self.stored)))

    def __str__(self) -> str:
        return (
            f"states beside each other {self.joined.worst:.1g} ({self.joined.pairs} products, {self.queries} queries), "
            f"products encoded beside each other {self.encoded.worst:.1g} ({self.encoded.pairs}), states stored and "
            f"read back {self.stored:.1g}"
        )


def check_as_written(part: Part, model: bytes) -> None:
    """Refuses a graph of which the optimiser makes something else than was written.

    Raises:
        ExportError: naming the operators.
    """
    written = Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
    expected = {kind: written[kind] for kind in AS_WRITTEN} | dict.fromkeys(SLOW_OR_DYNAMIC, 0)
    compare_operators(optimised_operators(model), expected, part)


def check_against_student(student: SplitStudent, model: SplitModel, pairs: Sequence[Pair]) -> float:
    """The largest |ONNX logit - torch logit| over the pairs.

    Raises:
        ExportError: it is over 1e-4, or a logit is not finite.
    """
    found = SplitPairs(student.tokenizer, pairs).logits(model)
    worst = float(np.abs(found - student.logits(pairs)).max())
    if not worst <= TOLERANCE:
        raise ExportError(
            f"fp32 ONNX and torch differ by {worst:.2g} in a logit; at most {TOLERANCE:g} is allowed: "
            "the graphs do not compute this model, do not serve it"
        )
    return worst


def check_split_independence(
    model: SplitModel, tokenizer: PairTokenizer, pairs: Sequence[Pair], variant: str, seed: int = 0
) -> SplitIndependence:
    """As `measure_split_independence`.

    Raises:
        ExportError: a logit moves by more than 1e-4.
    """
    found = measure_split_independence(model, tokenizer, pairs, seed)
    if not found.worst <= TOLERANCE:
        raise ExportError(
            f"{variant}: a pair's logit moves with what stands beside it: {found}; at most {TOLERANCE:g} is allowed"
        )
    return found


def measure_split_independence(
    model: SplitModel, tokenizer: PairTokenizer, pairs: Sequence[Pair], seed: int = 0
) -> SplitIndependence:
    """Compares logits of the pairs' products under some of their queries: alone, in batches, beside the longest.

    Args:
        seed: of the random neighbours.
    """
    encoded = SplitPairs(tokenizer, pairs)
    texts = Texts(tokenizer, encoded.products)
    picked = _spread(encoded.queries, QUERIES)
    states = [model.encode_products(texts.feeds([row]))[0] for row in range(len(texts))]
    found, stored = [], 0.0
    for row in picked:
        query = model.encode_query(tokenizer.collate_alone([encoded.queries[row]]).feeds())
        found.append(measure_independence(model.interact, _Joined(query, states), seed))
        one = model.interact({**query, **gathered([states[row]])})
        kept = model.interact({**query, **gathered([_stored(states[row])])})
        stored = max(stored, float(np.abs(kept - one).max()))
    few = [encoded.products[row] for row in _spread(encoded.products, FRESH)]
    fresh = measure_independence(_encoding(model, query), Texts(tokenizer, few), seed)
    return SplitIndependence(len(picked), _worst(found), fresh, stored)


class _Joined(Encoded):
    """Products of known states under one query."""

    def __init__(self, query: Feeds, states: Sequence[ProductState]) -> None:
        super().__init__(np.array([len(state.tokens) for state in states], np.int64))
        self._query = query
        self._states = states

    def feeds(self, rows: Rows) -> Feeds:
        return {**self._query, **gathered([self._states[row] for row in rows])}


def _encoding(model: SplitModel, query: Feeds) -> Callable[[Feeds], Floats]:
    """Logits of products that are encoded together."""

    def run(feeds: Feeds) -> Floats:
        return model.interact({**query, **gathered(model.encode_products(feeds))})

    return run


def _spread(texts: Sequence[NDArray[np.int64]], count: int) -> list[int]:
    """Rows of at most `count` different texts, from the shortest to the longest."""
    distinct = {text.tobytes(): row for row, text in enumerate(texts)}
    rows = sorted(distinct.values(), key=lambda row: len(texts[row]))
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]


def _stored(state: ProductState) -> ProductState:
    """The state written to bytes and read again."""
    arrays = (
        np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
        for array in (state.tokens, state.scales, state.pooled)
    )
    scale = np.frombuffer(np.float32(state.pooled_scale).tobytes(), np.float32)[0]
    return replace(state, **dict(zip(("tokens", "scales", "pooled"), arrays, strict=True)), pooled_scale=float(scale))


def _worst(found: Iterable[Independence]) -> Independence:
    """Of several, the largest of each kind."""
    each = list(found)
    kinds = ("micro_batches", "one_batch", "beside_longest", "random_neighbours")
    largest = [float(np.max([getattr(one, kind) for one in each])) for kind in kinds]
    return Independence(each[0].pairs, *largest)
